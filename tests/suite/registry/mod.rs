//! Registries: real ones, started for the test, and one that misbehaves.

mod commands;
mod build;
mod servers;
mod transfer;
