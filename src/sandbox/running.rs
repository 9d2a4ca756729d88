//! A sandbox that runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{Signal, pidfd_send_signal};

use super::channel::{self, Notice};
use super::outside::Runtime;
use crate::progress::Usage;
use crate::sys::process::Offspring;

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code that a shell would report: 128 plus the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A started sandbox. Dropping it kills the whole tree and waits for its end.
#[derive(Debug)]
pub struct Running {
    pub(super) control: OwnedFd,
    /// Collected when this is dropped, after the control socket.
    pub(super) _init: Init,
    pub(super) pid: i32,
    pub(super) killer: Killer,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) warnings: Vec<String>,
    pub(super) ended: Option<Exit>,
    pub(super) out_of_memory: bool,
    pub(super) usage: Option<Usage>,
    /// Whether an outside runtime made it.
    pub(super) outside: bool,
}

impl Running {
    /// The same sandbox, as an outside runtime keeps it.
    pub(super) fn kept_by(mut self, runtime: Runtime) -> Self {
        self.killer.runtime = Some(Arc::new(runtime));
        self.made_outside()
    }

    /// The same sandbox, whose processes do not end with its init.
    pub(super) fn made_outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// What becomes readable at the end of the first process.
    pub fn end(&self) -> BorrowedFd<'_> {
        if self.outside {
            // The kernel does not kill the process when the init is killed: this
            // side has to see that it is gone.
            self.control.as_fd()
        } else {
            self.pidfd()
        }
    }

    /// The host pid of the sandbox's first process (pid 1 inside). It stays that
    /// process' until [`Running::wait`] has returned.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The pidfd of the first process: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.killer.pidfd.as_fd()
    }

    /// The master end of the terminal, where one was asked for; once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to the first process.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.killer.send(signal)
    }

    /// Waits for the first process, and with it for everything in the sandbox.
    /// Whether the kernel killed something for want of memory is known after it.
    pub fn wait(&mut self) -> io::Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let notice = channel::receive::<Notice>(self.control.as_fd());
        let exit = match notice {
            Ok(Some((
                Notice::Ended {
                    code,
                    signal,
                    out_of_memory,
                    cpu,
                    memory_peak,
                },
                ..,
            ))) => {
                self.out_of_memory = out_of_memory;
                self.usage = Some(Usage { cpu, memory_peak });
                code.map_or(Exit::Signal(signal), Exit::Code)
            }
            // Somebody killed the init, and the kernel the first process with it;
            // kill that again where it was not to die with its parent.
            Ok(_) => {
                self.killer.kill();
                if let Some(runtime) = &self.killer.runtime {
                    // What it knows of the container is of no use any more.
                    let _gone = runtime.delete();
                }
                Exit::Signal(libc::SIGKILL)
            }
            Err(err) => return Err(err),
        };
        self.ended = Some(exit);
        // Lets the init go, which has kept the first process' pid until now.
        let _gone = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write);
        Ok(exit)
    }

    /// A handle that can kill the tree from another thread.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Whether the cgroup saw an out-of-memory kill.
    pub fn out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// What its processes used; known after [`Running::wait`].
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Limits that could not be set, one sentence each, naming the limit.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.killer.kill();
            // There is nobody left to tell; the init is collected in any case.
            let _unheard = self.wait();
        }
        // It waits for this side to close, should `wait` have failed.
        let _gone = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
    }
}

/// The init process, collected when dropped. It ends by itself when the control
/// socket is closed.
#[derive(Debug)]
pub(super) struct Init(pub(super) Offspring);

impl Drop for Init {
    fn drop(&mut self) {
        let _collected = self.0.wait();
    }
}

/// Kills a sandbox's whole tree from another thread.
#[derive(Debug, Clone)]
pub struct Killer {
    pub(super) pidfd: Arc<OwnedFd>,
    /// The outside runtime that passes signals on, if it is one's first process.
    pub(super) runtime: Option<Arc<Runtime>>,
}

impl Killer {
    /// Kills the first process with SIGKILL, and so everything in its pid namespace.
    pub fn kill(&self) {
        // It may be gone already.
        let _gone = self.send(libc::SIGKILL);
    }

    fn send(&self, signal: i32) -> io::Result<()> {
        if let Some(runtime) = &self.runtime
            && runtime.kill(signal).is_ok()
        {
            return Ok(());
        }
        let signal = Signal::from_named_raw(signal).ok_or(rustix::io::Errno::INVAL)?;
        Ok(pidfd_send_signal(&*self.pidfd, signal)?)
    }
}
