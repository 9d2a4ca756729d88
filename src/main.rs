//! The `rbuild` binary: hidden entries first, else the command line.

mod cli;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

/// The program starts itself under other names for the processes that stay
/// beside a container or become one. They must run before any argument is
/// parsed: the sandbox's init may not have a second thread.
fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match name.to_str() {
        Some(rbuild::sandbox::INIT_ARGV0) => exit_code(rbuild::sandbox::init_main()),
        Some(rbuild::container::SHIM_ARGV0) => exit_code(rbuild::container::shim_main()),
        Some(rbuild::sandbox::REAPER_ARGV0) => {
            exit_code(rbuild::sandbox::reaper_main(arguments.collect()))
        }
        _ => ExitCode::from(cli::main(arguments.collect(), environment())),
    }
}

/// The environment, read here and nowhere else. Variables that are no UTF-8
/// have no use in a Dockerfile or a container's configuration.
fn environment() -> BTreeMap<String, String> {
    let text = |text: OsString| text.into_string().ok();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect()
}

/// Process exit codes have eight bits; anything else is a failure.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
