//! Parent side: start, wait, kill.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::Spec;

/// The descriptors of the sandbox's first process.
#[derive(Debug)]
pub enum Stdio<'a> {
    /// These three descriptors, which may be pipes, files or `/dev/null`.
    Descriptors {
        /// Standard input.
        stdin: BorrowedFd<'a>,
        /// Standard output.
        stdout: BorrowedFd<'a>,
        /// Standard error.
        stderr: BorrowedFd<'a>,
    },
    /// A new pseudo-terminal made inside the sandbox's devpts; its master end
    /// comes back as [`Running::terminal`]. Needs [`Spec::terminal`].
    Terminal,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not in the root file system or its PATH: exit code 127.
    #[error("exec: \"{0}\": executable file not found in $PATH")]
    CommandNotFound(String),
    /// The program is there and cannot be executed: exit code 126.
    #[error("exec: \"{command}\": {why}")]
    CommandNotExecutable {
        /// The program.
        command: String,
        /// The kernel's reason: `permission denied`, `is a directory`, `exec format error`.
        why: String,
    },
    /// A step of the set-up failed.
    #[error("cannot set up the sandbox: {step}")]
    SetUp {
        /// Which step, with its object: `mount overlay on /`, `set hostname`.
        step: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The init process ended without a word.
    #[error("the sandbox's init process ended unexpectedly")]
    Lost,
}

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
    terminal: Option<OwnedFd>,
}

impl Running {
    /// The host pid of the sandbox's first process (pid 1 inside).
    pub fn pid(&self) -> i32 {
        todo!()
    }

    /// The master end of the terminal, where one was asked for; once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to the first process.
    pub fn signal(&self, signal: i32) -> std::io::Result<()> {
        let _ = signal;
        todo!()
    }

    /// Waits for the first process, and with it for everything in the sandbox.
    /// Whether the kernel killed something for want of memory is known after it.
    pub fn wait(&mut self) -> std::io::Result<Exit> {
        todo!()
    }

    /// A handle that can kill the tree from another thread.
    pub fn killer(&self) -> Killer {
        todo!()
    }

    /// Whether the cgroup saw an out-of-memory kill.
    pub fn out_of_memory(&self) -> bool {
        todo!()
    }

    /// Limits that could not be set, one sentence each, naming the limit.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }
}

/// Kills a sandbox's whole tree from another thread.
#[derive(Debug, Clone)]
pub struct Killer {}

impl Killer {
    /// Kills the first process with SIGKILL, and so everything in its pid namespace.
    pub fn kill(&self) {
        todo!()
    }
}

/// Starts a sandbox. Returns when the program was executed, or why it was not.
/// `network` is the descriptor for [`super::NetworkNamespace::Passed`].
pub fn spawn(
    spec: &Spec,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    let _ = (spec, stdio, network);
    todo!()
}
