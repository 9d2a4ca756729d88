//! Why a program did not run, as init and first process tell it.

use std::fmt::Display;
use std::io;

use serde::{Deserialize, Serialize};

use super::Error;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// A step of the set-up.
    SetUp { step: String, errno: i32 },
    /// The program is not there.
    NotFound,
    /// The program is there, and the kernel does not execute it.
    NotExecutable { errno: i32 },
    /// An outside runtime refused; its words, and what Docker's `run` ends with.
    Runtime { message: String, code: u8 },
}

impl Failure {
    /// A step that the kernel refused.
    pub(super) fn step(step: impl Display, err: &io::Error) -> Self {
        Self::SetUp {
            step: step.to_string(),
            errno: err.raw_os_error().unwrap_or(libc::EINVAL),
        }
    }

    /// The caller's view of it.
    pub(super) fn into_error(self, command: &str) -> Error {
        let command = command.to_owned();
        match self {
            Self::SetUp { step, errno } => Error::SetUp {
                step,
                source: io::Error::from_raw_os_error(errno),
            },
            Self::Runtime { message, code } => Error::Runtime { message, code },
            Self::NotFound => Error::CommandNotFound(command),
            Self::NotExecutable { errno } => Error::CommandNotExecutable {
                command,
                why: reason(errno),
            },
        }
    }
}

/// The kernel's reason in the words that Docker's users know.
fn reason(errno: i32) -> String {
    let known = match errno {
        libc::EACCES => "permission denied",
        libc::EISDIR => "is a directory",
        libc::ENOEXEC => "exec format error",
        libc::E2BIG => "argument list too long",
        libc::EPERM => "operation not permitted",
        libc::ETXTBSY => "text file busy",
        libc::ELOOP => "too many levels of symbolic links",
        // The file is there: its interpreter or its dynamic loader is not.
        libc::ENOENT => "no such file or directory",
        _ => return io::Error::from_raw_os_error(errno).to_string(),
    };
    known.to_owned()
}

/// A step of the set-up.
pub(super) type Step<T> = Result<T, Failure>;

/// Names what was tried when it fails.
pub(super) trait During<T> {
    /// `step` in the words of [`Error::SetUp`].
    fn during(self, step: &str) -> Step<T>;
    /// The same, for a text that is made only when needed.
    fn during_with<D: Display>(self, step: impl FnOnce() -> D) -> Step<T>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &str) -> Step<T> {
        self.map_err(|err| Failure::step(step, &err.into()))
    }

    fn during_with<D: Display>(self, step: impl FnOnce() -> D) -> Step<T> {
        self.map_err(|err| Failure::step(step(), &err.into()))
    }
}
