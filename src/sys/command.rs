//! Outside programs: bounded in time and output, with an environment of ours.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Most bytes that are kept of each output; the rest is read and dropped.
const OUTPUT_LIMIT: u64 = 16 << 20;
/// Where programs of the system are when the caller's PATH lacks them.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 plus the number of the signal that ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not start.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Talking to it failed.
    #[error("cannot talk to `{program}`")]
    Talk {
        /// The program.
        program: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("`{program}` did not end within {deadline:?}")]
    Deadline {
        /// The program.
        program: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
}

/// The program `name` in the directories of `path_env`, then in those of the system.
pub fn find(name: &str, path_env: Option<&str>) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    path_env
        .into_iter()
        .chain([SYSTEM_PATH])
        .flat_map(|path| path.split(':'))
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| Path::new(dir).join(name))
        .find(|path| {
            path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        })
}

/// Runs a program to its end: an environment of `PATH` and `LC_ALL=C`, no
/// terminal, `input` as its standard input. When `deadline` has passed it is
/// killed with everything in its process group.
pub fn run(
    program: &Path,
    args: &[&str],
    input: &[u8],
    deadline: Duration,
) -> Result<Output, CommandError> {
    let environment = BTreeMap::from([
        ("PATH".to_owned(), SYSTEM_PATH.to_owned()),
        ("LC_ALL".to_owned(), "C".to_owned()),
    ]);
    run_in(program, args, input, deadline, &environment)
}

/// The same in an environment of the caller's.
pub fn run_in(
    program: &Path,
    args: &[&str],
    input: &[u8],
    deadline: Duration,
    environment: &BTreeMap<String, String>,
) -> Result<Output, CommandError> {
    let started = Instant::now();
    let child = start(program, args, environment).map_err(|source| CommandError::Start {
        program: program.to_owned(),
        source,
    })?;
    let left = deadline.saturating_sub(started.elapsed());
    match attend(child, input, left) {
        Ok(Some(output)) => Ok(output),
        Ok(None) => Err(CommandError::Deadline {
            program: program.to_owned(),
            deadline,
        }),
        Err(source) => Err(CommandError::Talk {
            program: program.to_owned(),
            source,
        }),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the module for outside programs"
)]
fn start(
    program: &Path,
    args: &[&str],
    environment: &BTreeMap<String, String>,
) -> io::Result<Child> {
    Command::new(program)
        .args(args)
        .env_clear()
        .envs(environment)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Feeds and reads the child; nothing when it had to be killed.
fn attend(mut child: Child, input: &[u8], left: Duration) -> io::Result<Option<Output>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            // A program that wants no more of its input closes it; its own end tells the rest.
            let _closed = stdin.map(|mut stdin| stdin.write_all(input));
        });
        let out = scope.spawn(move || drain(stdout));
        let err = scope.spawn(move || drain(stderr));
        let in_time = wait_until(&child, left).unwrap_or(false);
        // Whatever it left running holds the pipes open. The group's number is not
        // used again before the child is waited for.
        kill_group(&child);
        let status = child.wait();
        let join =
            |worker: std::thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
        let (stdout, stderr) = (join(out), join(err));
        drop(feeder.join());
        let status = status?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        let output = Output {
            code: code.unwrap_or(-1),
            stdout: stdout?,
            stderr: stderr?,
        };
        Ok(in_time.then_some(output))
    })
}

/// Reads to the end and keeps what the limit allows.
fn drain(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
        io::copy(&mut pipe, &mut io::sink())?;
    }
    Ok(bytes)
}

/// Whether the child ended in time.
fn wait_until(child: &Child, left: Duration) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    let end = Instant::now() + left;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

fn kill_group(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Nobody may be left in the group.
        let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str, input: &[u8], deadline: Duration) -> Result<Output, CommandError> {
        run(Path::new("/bin/sh"), &["-c", script], input, deadline)
    }

    #[test]
    fn input_output_and_code_pass() {
        let output = sh("cat; echo err >&2; exit 3", b"text", LONG).unwrap();
        assert_eq!(output.stdout, b"text");
        assert_eq!(output.stderr, b"err\n");
        assert_eq!(output.code, 3);
    }

    #[test]
    fn large_input_that_nobody_reads_is_no_error() {
        let output = sh("exit 0", &vec![0; 1 << 20], LONG).unwrap();
        assert_eq!(output.code, 0);
    }

    #[test]
    fn a_deadline_kills_the_whole_group() {
        let started = Instant::now();
        let result = sh("sleep 60 & sleep 60", b"", Duration::from_millis(100));
        assert!(matches!(result, Err(CommandError::Deadline { .. })));
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let err = run(Path::new("/no/such"), &[], b"", LONG).unwrap_err();
        assert_eq!(err.to_string(), "cannot start `/no/such`");
    }

    #[test]
    fn programs_of_the_system_are_found_without_a_path() {
        assert!(find("sh", None).is_some());
        assert!(find("sh", Some("/nowhere:relative")).is_some());
        assert_eq!(find("no-such-program", None), None);
        assert_eq!(find("bin/sh", Some("/")), None);
    }
}
