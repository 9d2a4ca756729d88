//! Registries: real ones, started for the test, and one that misbehaves.

mod build;
mod cache;
mod commands;
mod copy;
mod s3;
mod serve;
mod servers;
mod transfer;
