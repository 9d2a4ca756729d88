//! The last steps: privileges, signals, descriptors, and the program itself.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::super::REAPER_ARGV0;
use super::super::channel::{self, Report, Task};
use super::super::failure::{During, Failure, Step};
use super::super::spawn::Filter;
use super::Work;
use super::privileges::Privileges;
use crate::sys::process::{self, TextList};

/// Search path where the environment has none. Source: Docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `execve` gets.
#[derive(Debug)]
pub(in crate::sandbox) struct Program {
    /// The places to try, in order.
    candidates: Vec<PathBuf>,
    /// Whether it was given with a slash, and so is no name to look up.
    is_path: bool,
    argv: TextList,
    env: TextList,
}

impl Program {
    pub(in crate::sandbox) fn new(argv: &[String], env: &[String]) -> Step<Self> {
        let name = argv.first().map_or("", String::as_str);
        let is_path = name.contains('/');
        let candidates = if is_path {
            vec![PathBuf::from(name)]
        } else if name.is_empty() {
            Vec::new()
        } else {
            // The last one counts, as it does for a shell.
            let path = env.iter().rev().find_map(|line| line.strip_prefix("PATH="));
            let dirs = path.unwrap_or(DEFAULT_PATH).split(':');
            dirs.map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
                .collect()
        };
        Ok(Self {
            candidates,
            is_path,
            argv: TextList::new(argv).during("read the arguments")?,
            env: TextList::new(env).during("read the environment")?,
        })
    }

    /// This program itself, as the parent of that one.
    pub(super) fn reaper(argv: &[String], env: &[String]) -> Step<Self> {
        let mut words = vec![REAPER_ARGV0.to_owned(), "--".to_owned()];
        words.extend(argv.iter().cloned());
        Ok(Self {
            candidates: vec![PathBuf::from("/proc/self/exe")],
            is_path: true,
            argv: TextList::new(&words).during("read the arguments")?,
            env: TextList::new(env).during("read the environment")?,
        })
    }

    /// Executes the first candidate that is there, as `execvp` does: one that may
    /// not be executed is remembered and the search goes on.
    pub(in crate::sandbox) fn execute(&self) -> Failure {
        let mut failure = Failure::NotFound;
        for path in &self.candidates {
            let Ok(text) = CString::new(path.as_os_str().as_encoded_bytes()) else {
                continue;
            };
            let err = process::execute(&text, &self.argv, &self.env);
            match err.raw_os_error().unwrap_or(libc::EIO) {
                libc::ENOENT | libc::ENOTDIR => {
                    if std::fs::metadata(path).is_ok() {
                        return Failure::NotExecutable {
                            errno: libc::ENOENT,
                        };
                    }
                }
                libc::EACCES => {
                    let is_dir = std::fs::metadata(path).is_ok_and(|found| found.is_dir());
                    match (is_dir, self.is_path) {
                        // A directory on the PATH is not what was looked for.
                        (true, false) => {}
                        (true, true) => {
                            failure = Failure::NotExecutable {
                                errno: libc::EISDIR,
                            }
                        }
                        (false, _) => {
                            failure = Failure::NotExecutable {
                                errno: libc::EACCES,
                            }
                        }
                    }
                }
                errno => return Failure::NotExecutable { errno },
            }
        }
        failure
    }
}

/// Gives up what the program may not have. Nothing is opened afterwards.
pub(super) fn finish(privileges: &Privileges<'_>, work: &Work) -> Step<()> {
    process::close_on_exec_from(3).during("close descriptors")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    process::reset_signals().during("reset the signals")?;
    let own = match &work.order.task {
        _ if !work.order.makes_filter => None,
        Task::Spawn(spec) => Some((&spec.seccomp, &spec.capabilities)),
        Task::Enter(_, spec) => Some((&spec.seccomp, &spec.capabilities)),
        Task::Outside(_) => None,
    };
    let own = own.map(|(seccomp, capabilities)| {
        let filter = Filter {
            seccomp,
            capabilities,
        };
        filter.program()
    });
    let own = own.transpose()?;
    privileges.assume(own.as_deref().unwrap_or(&work.filter), |warning| {
        match channel::report(work.reports.as_fd(), &Report::Warning(warning), None) {
            Ok(()) => Ok(()),
            Err(err) => Err(err),
        }
        .or(Err(Errno::PIPE))
        .during("report a warning")
    })
}
