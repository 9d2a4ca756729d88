//! The terminal that the command runs on.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode; dropping it restores the former mode.
#[derive(Debug)]
pub(in crate::cli::commands) struct Raw {
    terminal: OwnedFd,
    former: Termios,
}

impl Raw {
    /// Puts standard input's terminal into raw mode: every key goes to the container.
    pub(in crate::cli::commands) fn of_stdin() -> io::Result<Self> {
        let terminal = io::stdin().as_fd().try_clone_to_owned()?;
        let former = tcgetattr(&terminal)?;
        let mut raw = former.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, former })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.former);
    }
}

/// Whether standard input is a terminal.
pub(in crate::cli::commands) fn stdin_is_one() -> bool {
    io::stdin().is_terminal()
}

/// Rows and columns of the command's terminal; 0 when it has none.
pub(in crate::cli::commands) fn size() -> (u16, u16) {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    size.map_or((0, 0), |size| (size.ws_row, size.ws_col))
}
