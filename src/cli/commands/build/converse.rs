//! Carrying input and output between the command and a shell that it runs itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild::sandbox::Running;
use rbuild::sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cli::commands::containers::terminal;

/// How much is read at a time.
const BLOCK: usize = 32 << 10;

/// Our ends of the shell's streams.
#[derive(Debug)]
pub(super) enum Ends {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Pipes.
    Pipes {
        /// To its standard input, until that has ended.
        input: Option<OwnedFd>,
        /// From its standard output and its standard error.
        outputs: [OwnedFd; 2],
    },
}

impl Ends {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Terminal(master) => Some(master.as_fd()),
            Self::Pipes { input, .. } => input.as_ref().map(AsFd::as_fd),
        }
    }

    fn outputs(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Terminal(master) => vec![master.as_fd()],
            Self::Pipes { outputs, .. } => outputs.iter().map(AsFd::as_fd).collect(),
        }
    }
}

/// Serves the shell until it ends; its exit code.
pub(super) fn serve(
    running: &mut Running,
    ends: Ends,
    resized: Option<&Signals>,
) -> io::Result<u8> {
    for fd in ends.input().into_iter().chain(ends.outputs()) {
        let flags = rustix::fs::fcntl_getfl(fd)?;
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    let mut conversation = Conversation {
        open: vec![true; ends.outputs().len()],
        ends,
        pending: Vec::new(),
        listening: true,
    };
    while !conversation.turn(running, resized)? {}
    let code = running.wait()?.code();
    Ok(u8::try_from(code).unwrap_or(255))
}

struct Conversation {
    ends: Ends,
    /// Which outputs have not ended.
    open: Vec<bool>,
    /// What was typed and not taken yet.
    pending: Vec<u8>,
    /// Whether standard input is still read.
    listening: bool,
}

impl Conversation {
    /// Waits for something to happen and deals with it; whether the shell has ended.
    fn turn(&mut self, running: &Running, resized: Option<&Signals>) -> io::Result<bool> {
        let stdin = io::stdin();
        let outputs = self.ends.outputs();
        let mut fds = vec![PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN)];
        let first = fds.len();
        for (fd, open) in outputs.iter().zip(&self.open) {
            // One that has ended is asked for nothing.
            let flags = if *open {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            fds.push(PollFd::from_borrowed_fd(*fd, flags));
        }
        let input = self.ends.input().filter(|_| !self.pending.is_empty());
        fds.extend(input.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        fds.extend(resized.map(|signals| PollFd::new(signals, PollFlags::IN)));
        // Input waits while the shell does not take what it has.
        let listening = self.listening && self.pending.is_empty();
        if listening {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ended = is_ready(&fds[0]);
        let ready: Vec<bool> = fds[first..first + outputs.len()]
            .iter()
            .map(is_ready)
            .collect();
        let typed = listening && fds.last().is_some_and(is_ready);
        drop((fds, outputs));
        for (at, ready) in ready.into_iter().enumerate() {
            if self.open[at] && (ready || ended) {
                self.open[at] = self.pass_on(at, ended)?;
            }
        }
        if ended {
            return Ok(true);
        }
        if resized.is_some_and(|signals| signals.next().is_some()) {
            self.resize();
        }
        if typed {
            self.listen()?;
        }
        self.flush();
        Ok(false)
    }

    /// Prints what an output has, all of it once the shell has ended. Whether there may be more.
    fn pass_on(&self, at: usize, all: bool) -> io::Result<bool> {
        let mut bytes = vec![0; BLOCK];
        let outputs = self.ends.outputs();
        loop {
            let length = match rustix::io::read(outputs[at], &mut bytes) {
                Ok(0) | Err(Errno::IO) => return Ok(false),
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(true),
                Err(err) => return Err(err.into()),
            };
            // A reader that went away stops nothing.
            let _reader_gone = if at == 0 {
                write(io::stdout().as_fd(), &bytes[..length])
            } else {
                write(io::stderr().as_fd(), &bytes[..length])
            };
            if !all {
                return Ok(true);
            }
        }
    }

    /// Takes what was typed.
    fn listen(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; BLOCK];
        match rustix::io::read(io::stdin().as_fd(), &mut bytes) {
            Ok(0) => {
                self.listening = false;
                if let Ends::Pipes { input, .. } = &mut self.ends {
                    *input = None;
                }
            }
            Ok(length) => self.pending.extend_from_slice(&bytes[..length]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal that is gone.
            Err(Errno::IO) => self.listening = false,
            Err(err) => return Err(err.into()),
        }
        Ok(())
    }

    /// Gives the shell what it takes.
    fn flush(&mut self) {
        while let Some(input) = self.ends.input().filter(|_| !self.pending.is_empty()) {
            match rustix::io::write(input, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // It wants no more input.
                Err(_) => {
                    self.pending.clear();
                    self.listening = false;
                }
            }
        }
    }

    fn resize(&self) {
        let (rows, columns) = terminal::size();
        if let (Ends::Terminal(master), 1..) = (&self.ends, rows) {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal that is just going away has no size to set.
            let _gone = tcsetwinsize(master, size);
        }
    }
}

/// Writes all of it, past any buffer of this process.
fn write(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
