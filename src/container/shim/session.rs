//! A program in the container with its streams, as the shim holds it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::super::logs::Stream;
use super::super::protocol::CHUNK;
use crate::sandbox::{self, Exit, Running, Stdio};

/// Which of a session's descriptors is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its output number so and so can be read.
    Output(usize),
    /// Its standard input takes more.
    Input,
    /// Its first process ended.
    End,
}

/// A started program.
#[derive(Debug)]
pub(super) struct Session {
    running: Running,
    outputs: [Option<OwnedFd>; 2],
    input: Input,
    terminal: bool,
}

/// Standard input, and bytes that it did not take yet.
#[derive(Debug, Default)]
struct Input {
    pipe: Option<OwnedFd>,
    pending: Vec<u8>,
    ending: bool,
}

/// How a program is given its streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wiring {
    /// Whether it gets a terminal.
    pub(super) terminal: bool,
    /// Whether its standard input can be written to.
    pub(super) stdin: bool,
}

impl Session {
    /// Makes the streams and starts a program with them. The thread that calls
    /// must outlive the program, which dies with it.
    pub(super) fn start(
        wiring: Wiring,
        spawn: impl FnOnce(Stdio<'_>) -> Result<Running, sandbox::Error>,
    ) -> Result<Self, sandbox::Error> {
        if wiring.terminal {
            return Self::with_terminal(spawn(Stdio::Terminal)?, wiring.stdin);
        }
        let step = |step: &str| {
            let step = step.to_owned();
            move |err: rustix::io::Errno| sandbox::Error::SetUp {
                step,
                source: err.into(),
            }
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(step("make a pipe"));
        let (our_stdout, stdout) = pipe()?;
        let (our_stderr, stderr) = pipe()?;
        let (stdin, our_stdin) = if wiring.stdin {
            let (stdin, ours) = pipe()?;
            (stdin, Some(ours))
        } else {
            let null = File::open("/dev/null").map_err(|source| sandbox::Error::SetUp {
                step: "open `/dev/null`".to_owned(),
                source,
            })?;
            (OwnedFd::from(null), None)
        };
        let running = spawn(Stdio::Descriptors {
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
        })?;
        Self::hold(
            running,
            [Some(our_stdout), Some(our_stderr)],
            our_stdin,
            false,
        )
    }

    fn with_terminal(mut running: Running, stdin: bool) -> Result<Self, sandbox::Error> {
        let terminal = running.take_terminal().ok_or(sandbox::Error::Lost)?;
        let input = stdin.then(|| terminal.try_clone()).transpose();
        let input = input.map_err(|source| sandbox::Error::SetUp {
            step: "duplicate the terminal".to_owned(),
            source,
        })?;
        Self::hold(running, [Some(terminal), None], input, true)
    }

    fn hold(
        running: Running,
        outputs: [Option<OwnedFd>; 2],
        input: Option<OwnedFd>,
        terminal: bool,
    ) -> Result<Self, sandbox::Error> {
        for fd in outputs.iter().flatten().chain(&input) {
            let flags = rustix::fs::fcntl_getfl(fd);
            flags
                .and_then(|flags| rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK))
                .map_err(|err| sandbox::Error::SetUp {
                    step: "prepare the streams".to_owned(),
                    source: err.into(),
                })?;
        }
        Ok(Self {
            running,
            outputs,
            input: Input {
                pipe: input,
                ..Input::default()
            },
            terminal,
        })
    }

    /// The program's process on the host.
    pub(super) fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// Limits that could not be set.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.running.warnings().to_vec()
    }

    /// What to wait for. Outputs are left alone while `congested`: then the
    /// program waits for its reader, as it would with a plain pipe.
    pub(super) fn interests(&self, congested: bool) -> Vec<(Part, BorrowedFd<'_>, PollFlags)> {
        let mut list = vec![(Part::End, self.running.end(), PollFlags::IN)];
        if !congested {
            for (at, output) in self.outputs.iter().enumerate() {
                list.extend(
                    output
                        .as_ref()
                        .map(|output| (Part::Output(at), output.as_fd(), PollFlags::IN)),
                );
            }
        }
        if !self.input.pending.is_empty() {
            let pipe = self.input.pipe.as_ref();
            list.extend(pipe.map(|pipe| (Part::Input, pipe.as_fd(), PollFlags::OUT)));
        }
        list
    }

    /// Reads once from an output; nothing when there is nothing at the moment
    /// or the output has ended.
    pub(super) fn read(&mut self, at: usize) -> Option<(Stream, Vec<u8>)> {
        let mut bytes = Vec::with_capacity(CHUNK);
        let result = rustix::io::read(
            self.outputs[at].as_ref()?,
            rustix::buffer::spare_capacity(&mut bytes),
        );
        match result {
            Ok(length) if length > 0 => {
                let stream = if at == 0 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                };
                Some((stream, bytes))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            // The end. A terminal says EIO when its last user is gone.
            Ok(_) | Err(_) => {
                self.outputs[at] = None;
                None
            }
        }
    }

    /// Whether standard input takes bytes now. Clients are not listened to while it does not.
    pub(super) fn takes_input(&self) -> bool {
        self.input.pending.is_empty()
    }

    /// Passes bytes to standard input; they are dropped when it has ended.
    pub(super) fn write(&mut self, bytes: Vec<u8>) {
        if self.input.pipe.is_some() && !self.input.ending {
            self.input.pending.extend(bytes);
            self.flush_input();
        }
    }

    /// Ends standard input after what was written. A terminal's has no end.
    pub(super) fn end_input(&mut self) {
        if !self.terminal {
            self.input.ending = true;
            self.flush_input();
        }
    }

    /// Writes what standard input takes at the moment.
    pub(super) fn flush_input(&mut self) {
        let input = &mut self.input;
        while let Some(pipe) = input.pipe.as_ref().filter(|_| !input.pending.is_empty()) {
            match rustix::io::write(pipe, &input.pending) {
                Ok(length) => drop(input.pending.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // The program closed its standard input.
                Err(_) => {
                    input.pending.clear();
                    input.pipe = None;
                }
            }
        }
        if input.ending {
            input.pipe = None;
        }
    }

    /// Sets the size of the terminal, if there is one.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(terminal)) = (self.terminal, &self.outputs[0]) {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal that is just going away has no size to set.
            let _gone = tcsetwinsize(terminal, size);
        }
    }

    /// Sends a signal to the program.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        self.running.signal(signal)
    }

    /// Takes the end: how, and whether the kernel wanted memory back.
    pub(super) fn wait(&mut self) -> (Exit, bool) {
        // The first process cannot be waited for twice; a lost one was killed.
        const LOST: Exit = Exit::Signal(9);
        let exit = self.running.wait().unwrap_or(LOST);
        (exit, self.running.out_of_memory())
    }
}
