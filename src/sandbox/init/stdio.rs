//! Standard input, output and error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;

use super::super::Terminal;
use super::super::channel::{self, Report};
use super::super::failure::{During, Step};
use super::Work;

/// `statfs` magic of devpts. Source: linux/magic.h.
const DEVPTS: u64 = 0x1cd1;

/// What the program is to get.
#[derive(Debug)]
pub(super) enum Streams<'a> {
    /// These.
    Passed([BorrowedFd<'a>; 3]),
    /// A terminal that is to be made.
    Terminal,
}

/// What it gets.
#[derive(Debug)]
pub(super) enum Open<'a> {
    Passed([BorrowedFd<'a>; 3]),
    /// The program's side of a terminal.
    Terminal(OwnedFd),
}

impl<'a> Streams<'a> {
    /// Makes the terminal, if one is wanted, in the devpts whose multiplexer is
    /// `ptmx`.
    pub(super) fn open(
        self,
        ptmx: impl FnOnce() -> rustix::io::Result<OwnedFd>,
        size: Option<Terminal>,
        work: &Work,
    ) -> Step<Open<'a>> {
        match self {
            Streams::Passed(streams) => Ok(Open::Passed(streams)),
            Streams::Terminal => {
                let master = ptmx().during("open `/dev/pts/ptmx`")?;
                let peer = terminal(&master, size).during("make a terminal")?;
                let master = Some(master.as_fd());
                channel::report(work.reports.as_fd(), &Report::Terminal, master)
                    .during("hand the terminal over")?;
                Ok(Open::Terminal(peer))
            }
        }
    }

    /// The same in a sandbox that runs, whose `/dev` may have become anything.
    pub(super) fn open_existing(self, size: Option<Terminal>, work: &Work) -> Step<Open<'a>> {
        self.open(
            || {
                let master = open_ptmx(rustix::fs::CWD, "/dev/pts/ptmx")?;
                let kind = rustix::fs::fstatfs(&master)?.f_type;
                if u64::try_from(kind).is_ok_and(|kind| kind == DEVPTS) {
                    Ok(master)
                } else {
                    Err(Errno::NOTTY)
                }
            },
            size,
            work,
        )
    }
}

/// Opens a terminal multiplexer.
pub(super) fn open_ptmx(dir: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, path, flags, Mode::empty())
}

fn terminal(master: &OwnedFd, size: Option<Terminal>) -> rustix::io::Result<OwnedFd> {
    unlockpt(master)?;
    // Not by its name, which another file system could have.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let peer = ioctl_tiocgptpeer(master, flags)?;
    if let Some(Terminal { rows, columns }) = size.filter(|size| size.rows > 0 && size.columns > 0)
    {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&peer, size)?;
    }
    Ok(peer)
}

impl Open<'_> {
    /// Puts them in their places. The terminal becomes the session's.
    pub(super) fn connect(&self, uid: u32) -> Step<()> {
        let [stdin, stdout, stderr] = match self {
            Open::Passed(streams) => *streams,
            Open::Terminal(peer) => {
                rustix::process::ioctl_tiocsctty(peer).during("take the terminal")?;
                [peer.as_fd(); 3]
            }
        };
        rustix::stdio::dup2_stdin(stdin).during("connect standard input")?;
        rustix::stdio::dup2_stdout(stdout).during("connect standard output")?;
        rustix::stdio::dup2_stderr(stderr).during("connect standard error")?;
        if uid != 0 {
            for stream in [stdin, stdout, stderr] {
                self.give(stream, uid);
            }
        }
        Ok(())
    }

    /// Gives a pipe or our own terminal to the program's user, who could not open
    /// `/dev/stdout` otherwise. Files and foreign terminals stay their owners'.
    fn give(&self, stream: BorrowedFd<'_>, uid: u32) {
        let is_pipe = || {
            rustix::fs::fstat(stream)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        };
        if matches!(self, Open::Terminal(_)) || is_pipe() {
            // Some file system or user namespace may not allow it; the stream itself works.
            let _kept = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}
