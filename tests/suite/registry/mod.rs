//! Registries: real ones, started for the test, and one that misbehaves.

mod build;
mod servers;
mod transfer;
