//! Parent side: start, wait, kill.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;

use rustix::process::{Signal, pidfd_send_signal};

use super::channel::{self, Order, Report};
use super::{INIT_ARGV0, Seccomp, Spec, seccomp};
use crate::sys::process;

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
    socket: UnixStream,
    init: Child,
    pid: i32,
    killer: Killer,
    terminal: Option<OwnedFd>,
    warnings: Vec<String>,
    ended: Option<Exit>,
    out_of_memory: bool,
}

impl Running {
    /// The host pid of the sandbox's first process (pid 1 inside).
    pub fn pid(&self) -> i32 {
        self.pid
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
        let exit = match channel::receive::<Report>(&self.socket)? {
            Some((
                Report::Ended {
                    code,
                    signal,
                    out_of_memory,
                },
                _,
            )) => {
                self.out_of_memory = out_of_memory;
                code.map_or(Exit::Signal(signal), Exit::Code)
            }
            // The init process was killed, and with it the first process.
            _ => Exit::Signal(libc::SIGKILL),
        };
        self.init.wait()?;
        self.ended = Some(exit);
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

    /// Limits that could not be set, one sentence each, naming the limit.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl AsFd for Running {
    /// The first process; it can be read from when that has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.killer.process.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.killer.kill();
            drop(self.wait());
        }
    }
}

/// Kills a sandbox's whole tree from another thread.
#[derive(Debug, Clone)]
pub struct Killer {
    process: Arc<OwnedFd>,
}

impl Killer {
    /// Kills the first process with SIGKILL, and so everything in its pid namespace.
    pub fn kill(&self) {
        drop(self.send(libc::SIGKILL));
    }

    fn send(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(pidfd_send_signal(&*self.process, signal)?)
    }
}

/// Starts a sandbox. Returns when the program was executed, or why it was not.
/// `network` is the descriptor for [`super::NetworkNamespace::Passed`].
pub fn spawn(
    spec: &Spec,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    begin(spec, stdio, network, None)
}

/// Starts a sandbox, or a further process in the one that `entered` is the first process of.
pub(super) fn begin(
    spec: &Spec,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
    entered: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    let set_up = |step: &str| {
        let step = step.to_owned();
        move |source| Error::SetUp { step, source }
    };
    let (socket, theirs) = UnixStream::pair().map_err(set_up("open a socket"))?;
    let init =
        process::spawn_self(INIT_ARGV0, theirs.into()).map_err(set_up("start the init process"))?;
    let mut descriptors = Vec::new();
    let has_stdio = match stdio {
        Stdio::Descriptors {
            stdin,
            stdout,
            stderr,
        } => {
            descriptors.extend([stdin, stdout, stderr]);
            true
        }
        Stdio::Terminal => false,
    };
    descriptors.extend(network);
    descriptors.extend(entered);
    let filters = match spec.seccomp {
        Seccomp::Unconfined => Vec::new(),
        Seccomp::Default => seccomp::default_filters(&spec.capabilities),
    };
    let order = Order {
        spec: spec.clone(),
        has_stdio,
        has_network: network.is_some(),
        enters: entered.is_some(),
        filters,
    };
    let starting = Starting {
        socket,
        init,
        terminal: None,
    };
    channel::send(&starting.socket, &order, &descriptors).map_err(set_up("order the sandbox"))?;
    starting.finish()
}

/// Between the order and the first answer.
struct Starting {
    socket: UnixStream,
    init: Child,
    terminal: Option<OwnedFd>,
}

impl Starting {
    fn finish(mut self) -> Result<Running, Error> {
        loop {
            let report = channel::receive::<Report>(&self.socket);
            let report = report.map_err(|source| Error::SetUp {
                step: "hear of the sandbox".to_owned(),
                source,
            })?;
            match report {
                Some((Report::Terminal, mut descriptors)) => self.terminal = descriptors.pop(),
                Some((Report::Started { pid, warnings }, mut descriptors)) => {
                    let process = descriptors.pop();
                    return self.running(pid, process, warnings);
                }
                Some((Report::Failed { step, errno }, _)) => {
                    drop(self.init.wait());
                    return Err(Error::SetUp {
                        step,
                        source: io::Error::from_raw_os_error(errno),
                    });
                }
                Some((Report::NotExecuted { command, errno }, _)) => {
                    drop(self.init.wait());
                    return Err(not_executed(command, errno));
                }
                Some((Report::Ended { .. }, _)) | None => {
                    drop(self.init.wait());
                    return Err(Error::Lost);
                }
            }
        }
    }

    fn running(
        mut self,
        pid: i32,
        process: Option<OwnedFd>,
        warnings: Vec<String>,
    ) -> Result<Running, Error> {
        let Some(process) = process else {
            drop(self.init.kill());
            drop(self.init.wait());
            return Err(Error::Lost);
        };
        let killer = Killer {
            process: Arc::new(process),
        };
        let Self {
            socket,
            init,
            terminal,
        } = self;
        Ok(Running {
            socket,
            init,
            pid,
            killer,
            terminal,
            warnings,
            ended: None,
            out_of_memory: false,
        })
    }
}

fn not_executed(command: String, errno: i32) -> Error {
    let why = match errno {
        libc::ENOENT | libc::ENOTDIR => return Error::CommandNotFound(command),
        libc::EISDIR => "is a directory".to_owned(),
        libc::EACCES => "permission denied".to_owned(),
        libc::ENOEXEC => "exec format error".to_owned(),
        other => io::Error::from_raw_os_error(other).to_string(),
    };
    Error::CommandNotExecutable { command, why }
}
