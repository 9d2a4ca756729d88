//! Registries: real ones, started for the test, and one that misbehaves.

mod build;
mod commands;
mod copy;
mod serve;
mod servers;
mod transfer;
