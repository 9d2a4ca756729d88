//! Parent side: the start.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::channel::{self, Notice, Order, Report, TaskRef};
use super::failure::{During, Failure, Step};
use super::outside::Errand;
use super::running::{Init, Killer, Running};
use super::{INIT_ARGV0, NetworkNamespace, Seccomp, Spec, init, seccomp};
use crate::sys::process::{self, Offspring};

/// The descriptors of the sandbox's first process.
#[derive(Debug, Clone, Copy)]
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
    /// comes back as [`Running::take_terminal`]. Needs [`Spec::terminal`].
    Terminal,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not in the root file system or its PATH: exit code 127.
    #[error("exec: \"{0}\": {reason}", reason = not_found(.0))]
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
    /// An outside runtime refused.
    #[error("{message}")]
    Runtime {
        /// Its words.
        message: String,
        /// The exit code of `run`: 125, 126 or 127.
        code: u8,
    },
    /// The init process ended without a word.
    #[error("the sandbox's init process ended unexpectedly")]
    Lost,
}

/// Docker's words: only a plain name is looked up in the PATH.
fn not_found(command: &str) -> String {
    if command.contains('/') {
        format!("stat {command}: no such file or directory")
    } else {
        "executable file not found in $PATH".to_owned()
    }
}

/// Starts a sandbox. Returns when the program was executed, or why it was not.
/// `network` is the descriptor for [`super::NetworkNamespace::Passed`].
pub fn spawn(
    spec: &Spec,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    let network = network.filter(|_| spec.network == NetworkNamespace::Passed);
    let filter = Filter {
        seccomp: &spec.seccomp,
        capabilities: &spec.capabilities,
    };
    start(
        TaskRef::Spawn(spec),
        stdio,
        network,
        &filter,
        Origin::Executed,
    )
}

/// Like [`spawn`], for a small process of one thread: the init is `ready` or a fork,
/// and nothing is loaded again. With more threads it is the same as [`spawn`].
pub fn spawn_forked(
    spec: &Spec,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
    ready: Option<ReadyInit>,
) -> Result<Running, Error> {
    let network = network.filter(|_| spec.network == NetworkNamespace::Passed);
    let filter = Filter {
        seccomp: &spec.seccomp,
        capabilities: &spec.capabilities,
    };
    start(
        TaskRef::Spawn(spec),
        stdio,
        network,
        &filter,
        ready.map_or(Origin::Forked, Origin::Ready),
    )
}

/// An init that waits for what it is to start. When this is dropped it goes.
#[derive(Debug)]
pub struct ReadyInit {
    starting: Starting,
    theirs: OwnedFd,
}

impl ReadyInit {
    /// Forks one. The sooner in a process' life, the less memory the two have apart.
    /// `None` where this process has more than one thread.
    pub fn fork() -> Option<Self> {
        let (starting, theirs) = Starting::forked().ok()?;
        Some(Self { starting, theirs })
    }
}

/// How an init comes to be.
#[derive(Debug)]
pub(super) enum Origin {
    /// By executing this program anew.
    Executed,
    /// As a fork of this process where that is possible.
    Forked,
    /// It is there.
    Ready(ReadyInit),
}

/// Which system call filter a program gets.
pub(super) struct Filter<'a> {
    pub(super) seccomp: &'a Seccomp,
    pub(super) capabilities: &'a [u8],
}

impl Filter<'_> {
    /// Its instructions; none for no filter.
    pub(super) fn program(&self) -> Step<Arc<[u8]>> {
        match self.seccomp {
            Seccomp::Unconfined => Ok(Arc::default()),
            Seccomp::Default => {
                let filter = seccomp::default_filter(self.capabilities);
                filter
                    .map_err(io::Error::other)
                    .during("make the system call filter")
            }
            Seccomp::Profile(text) => {
                let filter = seccomp::custom_filter(text, self.capabilities);
                filter
                    .map_err(io::Error::other)
                    .during("make the system call filter")
            }
        }
    }
}

/// Whether a system call profile in Docker's JSON form can be understood; else why not.
pub fn check_profile(text: &str) -> Result<(), String> {
    seccomp::custom_filter(text, &[])
        .map(drop)
        .map_err(|err| err.to_string())
}

/// Starts an init for a task.
pub(super) fn start(
    task: TaskRef<'_>,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
    filter: &Filter<'_>,
    origin: Origin,
) -> Result<Running, Error> {
    let failed = |failure: Failure| failure.into_error(task.command());
    let (starting, theirs) = match origin {
        Origin::Ready(ready) => (ready.starting, ready.theirs),
        Origin::Forked => Starting::forked()
            .or_else(|_| Starting::executed())
            .map_err(failed)?,
        Origin::Executed => Starting::executed().map_err(failed)?,
    };
    let mut descriptors = vec![theirs.as_fd()];
    descriptors.extend(network);
    let terminal = matches!(stdio, Stdio::Terminal);
    if let Stdio::Descriptors {
        stdin,
        stdout,
        stderr,
    } = stdio
    {
        descriptors.extend([stdin, stdout, stderr]);
    }
    let order = Order {
        task,
        makes_filter: starting.is_fork,
        terminal,
        network: network.is_some(),
    };
    // An init that is executed loads while the filter and the order are made. Making
    // one takes 300 KiB, which a program's process loses when it becomes the program.
    let filter = if starting.is_fork {
        Arc::default()
    } else {
        filter.program().map_err(failed)?
    };
    let sent = channel::send(starting.control.as_fd(), &order, &filter, &descriptors);
    drop(theirs);
    match sent {
        // An init that is gone already may have said why.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => {}
        sent => sent.during("order the sandbox").map_err(failed)?,
    }
    starting.finish(task.command())
}

/// Has an outside runtime called, and waits for that.
pub(super) fn command(errand: &Errand) -> Result<(), Error> {
    let failed = |failure: Failure| failure.into_error("");
    let (starting, theirs) = Starting::executed().map_err(failed)?;
    let order = Order {
        task: TaskRef::Outside(errand),
        makes_filter: false,
        terminal: false,
        network: false,
    };
    let control = starting.control.as_fd();
    let sent = channel::send(control, &order, &[], &[theirs.as_fd()]);
    drop(theirs);
    sent.during("order the call").map_err(failed)?;
    let hear = |err| Failure::step("hear of the call", &err).into_error("");
    if let Some((Notice::Done, ..)) = channel::receive::<Notice>(control).map_err(hear)? {
        return Ok(());
    }
    match channel::next_report(&starting.reports).map_err(hear)? {
        Some((Report::Failed(failure), _)) => Err(failed(failure)),
        _ => Err(Error::Lost),
    }
}

/// Between the start of the init and that of the program.
#[derive(Debug)]
struct Starting {
    control: OwnedFd,
    reports: OwnedFd,
    init: Init,
    is_fork: bool,
}

impl Starting {
    /// Executes an init. Returns also the end of the report socket that is its.
    fn executed() -> Step<(Self, OwnedFd)> {
        Self::new(|control| {
            process::spawn_self(INIT_ARGV0, control).during("start the init process")
        })
    }

    /// Forks an init. `EINVAL` where this process has more than one thread.
    fn forked() -> Step<(Self, OwnedFd)> {
        let (mut starting, theirs) = Self::new(|control| {
            process::fork_self(&control, init::main).during("fork the init process")
        })?;
        starting.is_fork = true;
        Ok((starting, theirs))
    }

    fn new(start: impl FnOnce(OwnedFd) -> Step<Offspring>) -> Step<(Self, OwnedFd)> {
        let (control, init_control) = channel::control().during("open a socket")?;
        let (reports, init_reports) = channel::reports().during("open a socket")?;
        let starting = Self {
            control,
            reports,
            init: Init(start(init_control)?),
            is_fork: false,
        };
        Ok((starting, init_reports))
    }

    fn finish(self, command: &str) -> Result<Running, Error> {
        let hear = |err| Failure::step("hear of the sandbox", &err).into_error(command);
        let notice = channel::receive::<Notice>(self.control.as_fd()).map_err(hear)?;
        let mut terminal = None;
        let mut warnings = Vec::new();
        while let Some((report, descriptor)) = channel::next_report(&self.reports).map_err(hear)? {
            match report {
                Report::Warning(warning) => warnings.push(warning),
                Report::Terminal => terminal = descriptor,
                Report::Failed(failure) => return Err(failure.into_error(command)),
            }
        }
        let Some((Notice::Started { pid }, _, mut descriptors)) = notice else {
            return Err(Error::Lost);
        };
        let pidfd = descriptors.pop().ok_or(Error::Lost)?;
        Ok(Running {
            control: self.control,
            _init: self.init,
            pid,
            killer: Killer {
                pidfd: Arc::new(pidfd),
                runtime: None,
            },
            terminal,
            warnings,
            ended: None,
            out_of_memory: false,
            usage: None,
            outside: false,
        })
    }
}
