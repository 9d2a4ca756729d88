//! The whole program, seen from outside, and the rules of this repository.
//!
//! One binary for all of it: linking once is what makes the suite quick.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes functions beside tests for no part of them"
)]

mod support;

mod apps;
mod build;
mod build_cli;
mod cli;
mod containers;
mod fuzz;
mod images;
mod lint;
mod network;
mod objects;
mod registry;
mod run;
mod sandbox;
mod servers;
mod story;
mod tidy;
mod vm;
