//! Registries: real ones, started for the test, and one that misbehaves.

mod servers;
mod transfer;
