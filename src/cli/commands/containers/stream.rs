//! Standing between the user and a program in a container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rbuild::engine::{Attached, Event, Stream, Streams};
use rbuild::sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};

use super::detach::Keys;
use super::terminal::{self, Raw};
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// How much of standard input is read at a time.
const BLOCK: usize = 32 << 10;
/// The signals that are the program's business: all that may be caught but
/// SIGCHLD, SIGPIPE, SIGURG and SIGWINCH, as in Docker, and but those that say
/// that the command itself is at fault.
const PASSED_ON: [i32; 15] = [1, 2, 3, 10, 12, 14, 15, 18, 20, 21, 22, 24, 26, 29, 30];
/// Those of them that stop a command on a terminal, as its shell wants.
const STOPPING: [i32; 3] = [20, 21, 22];
/// The signals that end a command with a terminal, after its mode is restored,
/// where they are not passed on.
const ENDING: [i32; 4] = [1, 2, 3, 15];
const SIGHUP: i32 = 1;
const SIGWINCH: i32 = 28;

/// How the user and the program are connected.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    /// Which streams the user gets.
    pub(super) streams: Streams,
    /// Whether the program has a terminal.
    pub(super) tty: bool,
    /// Whether signals to the command go to the program.
    pub(super) pass_signals: bool,
    /// The keys that leave.
    pub(super) keys: Keys,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The program ended with this code.
    Exited(u8),
    /// The user left.
    Detached,
    /// A signal ended the command, not the program.
    Interrupted(i32),
}

impl End {
    /// The command's exit code.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Detached => 0,
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

/// The command's signals, held back from the moment on that a program is to
/// hear them. It is made before the program starts, so that none acts in between.
#[derive(Debug)]
pub(super) struct Ears {
    signals: Option<Signals>,
}

impl Ears {
    /// Holds back what the program is to hear.
    pub(super) fn open(wiring: &Wiring) -> Result<Self, Failure> {
        let mut wanted = Vec::new();
        if wiring.pass_signals {
            let stops = |signal: &i32| wiring.tty && STOPPING.contains(signal);
            wanted.extend(PASSED_ON.into_iter().filter(|signal| !stops(signal)));
        } else if wiring.tty {
            wanted.extend(ENDING);
        }
        if wiring.tty {
            wanted.push(SIGWINCH);
        }
        let signals = (!wanted.is_empty()).then(|| Signals::catch(&wanted));
        let signals = signals
            .transpose()
            .map_err(|err| Failure::new(125, format!("cannot catch signals: {err}")))?;
        Ok(Self { signals })
    }
}

/// Carries input, output and signals until the program ends or the user leaves.
pub(super) fn serve(
    attached: &mut Attached,
    wiring: &Wiring,
    ears: &Ears,
    output: &mut Output,
) -> Result<End, Failure> {
    output.flush()?;
    let typing = wiring.tty && wiring.streams.stdin && terminal::stdin_is_one();
    let raw = typing.then(Raw::of_stdin).transpose();
    let _raw = raw.map_err(|err| Failure::new(1, format!("cannot use the terminal: {err}")))?;
    if wiring.tty {
        // It may have changed since the program was started with its size.
        let (rows, columns) = terminal::size();
        if rows > 0 {
            attached.resize(rows, columns).map_err(lost)?;
        }
    }
    let mut conversation = Conversation {
        attached,
        keys: wiring.keys.clone(),
        pass_signals: wiring.pass_signals,
        typing,
        stdin: wiring.streams.stdin,
    };
    loop {
        if let Some(end) = conversation.turn(ears)? {
            return Ok(end);
        }
    }
}

/// Lets a program that runs already draw its screen anew for a further client:
/// its terminal gets another size, and the right one when [`serve`] begins.
pub(super) fn ask_to_redraw(attached: &mut Attached) -> Result<(), Failure> {
    match terminal::size() {
        (0, _) | (_, 0) => Ok(()),
        (rows, columns) => {
            let (rows, columns) = (rows.saturating_add(1), columns.saturating_add(1));
            attached.resize(rows, columns).map_err(lost)
        }
    }
}

struct Conversation<'a> {
    attached: &'a mut Attached,
    keys: Keys,
    pass_signals: bool,
    /// Whether somebody types at a terminal in raw mode.
    typing: bool,
    /// Whether standard input is still read.
    stdin: bool,
}

impl Conversation<'_> {
    /// Waits for something to happen and deals with it.
    fn turn(&mut self, ears: &Ears) -> Result<Option<End>, Failure> {
        let stdin = io::stdin();
        let behind = self.attached.is_behind();
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, behind);
        let mut fds = vec![PollFd::new(&*self.attached, flags)];
        let signals = ears.signals.as_ref();
        fds.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
        // Input waits while the program does not take what it has.
        let listening = self.stdin && !behind;
        fds.extend(listening.then(|| PollFd::new(&stdin, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(Failure::new(125, format!("cannot wait: {err}"))),
        }
        let typed = listening && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        self.attached.flush().map_err(lost)?;
        if let Some(end) = signals.map_or(Ok(None), |signals| self.pass_signals(signals))? {
            return Ok(Some(end));
        }
        if let Some(end) = self.output()? {
            return Ok(Some(end));
        }
        if typed { self.input() } else { Ok(None) }
    }

    fn pass_signals(&mut self, signals: &Signals) -> Result<Option<End>, Failure> {
        while let Some(signal) = signals.next() {
            if signal == SIGWINCH {
                let (rows, columns) = terminal::size();
                self.attached.resize(rows, columns).map_err(lost)?;
            } else if self.pass_signals {
                self.attached.signal(signal).map_err(lost)?;
            } else {
                return Ok(Some(End::Interrupted(signal)));
            }
        }
        Ok(None)
    }

    /// Takes everything that the program said so far.
    fn output(&mut self) -> Result<Option<End>, Failure> {
        while let Some(event) = self.attached.event().map_err(lost)? {
            match event {
                Event::Output(stream, bytes) => print(stream, &bytes)?,
                Event::Exited(code) => {
                    return Ok(Some(End::Exited(u8::try_from(code).unwrap_or(255))));
                }
            }
        }
        Ok(None)
    }

    /// Passes on what was typed; whether the user left, or the terminal went away.
    fn input(&mut self) -> Result<Option<End>, Failure> {
        let mut bytes = vec![0; BLOCK];
        let length = match rustix::io::read(io::stdin().as_fd(), &mut bytes) {
            Ok(length) => length,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(None),
            Err(_) => 0,
        };
        if length == 0 {
            self.stdin = false;
            self.attached.end_input().map_err(lost)?;
            // A terminal in raw mode has no end but its own.
            return Ok(self.typing.then_some(End::Interrupted(SIGHUP)));
        }
        if !self.typing {
            self.attached.input(&bytes[..length]).map_err(lost)?;
            return Ok(None);
        }
        let (passed, left) = self.keys.filter(&bytes[..length]);
        if !passed.is_empty() {
            self.attached.input(&passed).map_err(lost)?;
        }
        Ok(left.then_some(End::Detached))
    }
}

/// Prints what the program wrote. A reader that went away ends the command, not
/// the program: that goes on with its other readers and its log.
fn print(stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    let (name, result) = match stream {
        Stream::Stdout => ("stdout", write(io::stdout().as_fd(), bytes)),
        Stream::Stderr => ("stderr", write(io::stderr().as_fd(), bytes)),
    };
    result.map_err(|err| Failure::new(1, format!("write /dev/{name}: {err}")))
}

/// Writes all of it, past any buffer of this process.
fn write(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(rustix::io::Errno::INTR) => {}
            // Somebody else made this descriptor one that does not wait.
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn lost(error: rbuild::container::Error) -> Failure {
    Failure::from(rbuild::engine::Error::from(error))
}
