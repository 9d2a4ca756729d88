//! The whole program, seen from outside, and the rules of this repository.
//!
//! One binary for all of it: linking once is what makes the suite quick.

mod support;

mod cli;
mod images;
mod network;
mod tidy;
