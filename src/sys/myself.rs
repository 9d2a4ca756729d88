//! Starting this program again under another name.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Starts this program with `name` as its `argv[0]` and `stdin` as its standard
/// input, with no environment, no other descriptor and nowhere to print. It is
/// not waited for: it outlives the caller, and init collects it.
#[allow(
    clippy::zombie_processes,
    reason = "the caller ends long before the process that it starts"
)]
#[allow(clippy::disallowed_methods, reason = "this is the module for it")]
pub fn start_self(name: &str, stdin: OwnedFd) -> io::Result<()> {
    // What the caller's caller left open must not stay open as long as a container.
    super::process::close_on_exec_from(3)?;
    let child = Command::new("/proc/self/exe")
        .arg0(name)
        .env_clear()
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child);
    Ok(())
}
