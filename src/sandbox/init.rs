//! Child side, after re-execution.

/// Runs as a sandbox's init: reads the specification from its standard input (a
/// socket), makes the namespaces and the root file system, starts the program
/// and reports its end. Never returns to the command line. Returns the process' exit code.
pub fn main() -> i32 {
    todo!()
}
