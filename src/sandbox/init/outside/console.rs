//! The terminal that a runtime makes, and hands over on a socket.
//!
//! Source: the console socket of runc, docs/terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::termios::{Winsize, tcsetwinsize};

use super::super::super::Terminal;
use super::super::super::channel::{self, Report};
use super::super::super::failure::{During, Step};

/// How long a runtime that has said that it is done may take to hand over.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A socket on which a runtime hands over a terminal; its file goes with it.
pub(super) struct Console {
    socket: OwnedFd,
    path: PathBuf,
    /// Through it the path is short enough for an address.
    dir: OwnedFd,
    name: String,
}

impl Console {
    /// Listens in `dir`.
    pub(super) fn listen(dir: &Path) -> Step<Self> {
        Self::open(dir).during("listen for the runtime's terminal")
    }

    fn open(dir: &Path) -> io::Result<Self> {
        let name = format!("console-{}", rustix::process::getpid().as_raw_nonzero());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(dir, flags, Mode::empty())?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let console = Self {
            socket,
            path: dir.join(&name),
            dir: open,
            name,
        };
        let _absent = std::fs::remove_file(&console.path);
        bind(&console.socket, &SocketAddrUnix::new(console.address())?)?;
        listen(&console.socket, 1)?;
        Ok(console)
    }

    /// The socket's path, as any process of this user can use it.
    pub(super) fn address(&self) -> String {
        let own = rustix::process::getpid().as_raw_nonzero();
        format!("/proc/{own}/fd/{}/{}", self.dir.as_raw_fd(), self.name)
    }

    /// Takes the terminal, sets its size, and sends it to the parent.
    pub(super) fn hand_over(self, reports: BorrowedFd<'_>, size: Option<Terminal>) -> Step<()> {
        const STEP: &str = "take the runtime's terminal";
        let terminal = self.take().during(STEP)?;
        if let Some(size) = size.filter(|size| size.rows > 0 && size.columns > 0) {
            let size = Winsize {
                ws_row: size.rows,
                ws_col: size.columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&terminal, size).during(STEP)?;
        }
        channel::report(reports, &Report::Terminal, Some(terminal.as_fd()))
            .during("hand the terminal over")
    }

    fn take(&self) -> io::Result<OwnedFd> {
        wait(&self.socket)?;
        let connection = accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        wait(&connection)?;
        channel::descriptor_from(connection.as_fd())?.ok_or(io::ErrorKind::InvalidData.into())
    }
}

fn wait(fd: &OwnedFd) -> io::Result<()> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match super::retry(|| poll(&mut fds, Some(&PATIENCE)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}
