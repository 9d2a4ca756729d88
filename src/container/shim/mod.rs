//! The process that stays beside a container.
//!
//! It is this program under another name, born with one socket as its standard
//! input, over which it hears what to start and says what became of it. It
//! makes the network and the sandbox, carries the program's streams to the log
//! and to its clients, listens on the container's socket, and at the end writes
//! the state down and gives everything back. If it is killed, the kernel kills
//! the container's processes with it, and whoever reads the state next sees
//! that it is gone.
//!
//! One thread, one loop. A client that does not read makes the program wait, as
//! a full pipe would, but neither the shim nor anyone else.

mod client;
mod end;
mod log;
mod mounts;
mod network;
mod note;
mod probe;
mod rest;
mod run;
mod serve;
mod session;
mod setup;

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::RecvFlags;

pub(super) use log::check as check_log;
pub(super) use mounts::user_mounts;

use super::Error;
use super::protocol::{self, Ask, StartOrder, Tell};
use crate::sandbox::ReadyInit;
use crate::sys;

/// The name under which this program starts itself as a shim.
pub const SHIM_ARGV0: &str = "rbuild-shim";

/// Runs as a shim; returns the process' exit code.
pub fn shim_main() -> i32 {
    match born() {
        Ok((socket, order, init)) => run::run(socket, order, init),
        // Nobody is there who could be told.
        Err(_) => 1,
    }
}

/// Leaves the command's session and hears what to do.
fn born() -> std::io::Result<(OwnedFd, StartOrder, Option<ReadyInit>)> {
    let _unnamed = rustix::thread::set_name(c"rbuild-shim");
    sys::process::stay_small();
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // The terminal's signals are for the command, not for the container's keeper.
    rustix::process::setsid()?;
    sys::signals::forget_pending_and_unblock()?;
    // This process is smallest now, and most often the order is still being made.
    let init = ReadyInit::fork();
    match Ask::decode(&protocol::receive(socket.as_fd(), RecvFlags::empty())?)? {
        Some(Ask::Start(order)) => Ok((socket, *order, init)),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// The answer for a start that failed.
fn refusal(error: &Error) -> Tell {
    Tell::Refused(protocol::Refusal {
        code: error.run_code(),
        message: error.chain(),
    })
}
