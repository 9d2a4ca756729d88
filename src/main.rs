//! The `rbuild` binary: hidden entries first, else the command line.
fn main() {}
