//! Outside programs: bounded in time and output, with an environment of ours.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open, prlimit};

/// Most bytes that are kept of each output; the rest is read and dropped.
const OUTPUT_LIMIT: u64 = 16 << 20;
/// Where programs of the system are when the caller's PATH lacks them.
pub const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

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
    /// It was stopped from outside and was killed.
    #[error("`{program}` was stopped")]
    Stopped {
        /// The program.
        program: PathBuf,
    },
    /// It wrote more than was allowed and was killed.
    #[error("`{program}` wrote more than {limit_bytes} bytes")]
    Output {
        /// The program.
        program: PathBuf,
        /// The limit.
        limit_bytes: u64,
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
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let environment: Vec<(&str, &OsStr)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), OsStr::new(value)))
        .collect();
    run_supervised(&Supervised {
        program,
        args: &args,
        environment: &environment,
        directory: None,
        input,
        deadline,
        stop: &|| false,
        limits: Limits::default(),
    })
}

/// Runs a program to its end with these streams as its own, which may go on to
/// live in what it starts; returns its code. It is killed when `deadline` has passed.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the module for outside programs"
)]
pub fn run_with_streams(
    program: &Path,
    args: &[OsString],
    environment: &[(&str, &str)],
    streams: [BorrowedFd<'_>; 3],
    deadline: Duration,
) -> Result<i32, CommandError> {
    let start = || -> io::Result<Child> {
        let [stdin, stdout, stderr] = streams;
        let own = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map(Stdio::from);
        super::process::close_on_exec_from(3)?;
        Command::new(program)
            .args(args)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(own(stdin)?)
            .stdout(own(stdout)?)
            .stderr(own(stderr)?)
            .spawn()
    };
    let mut child = start().map_err(|source| CommandError::Start {
        program: program.to_owned(),
        source,
    })?;
    let talk = |source| CommandError::Talk {
        program: program.to_owned(),
        source,
    };
    let end = wait_until(&child, deadline, &|| None).map_err(talk)?;
    if end != End::Itself {
        let _gone = child.kill();
    }
    let status = child.wait().map_err(talk)?;
    if end != End::Itself {
        return Err(CommandError::Deadline {
            program: program.to_owned(),
            deadline,
        });
    }
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(code.unwrap_or(-1))
}

/// What a program may use. Nothing is limited where nothing is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Most bytes on its standard output; it is killed when it writes more.
    /// Without it, what goes beyond 16 MiB is dropped.
    pub output_bytes: Option<u64>,
    /// Largest file that it may write, itself and each of its children.
    pub file_bytes: Option<u64>,
    /// Most memory of its own that it may map, itself and each of its children.
    pub memory_bytes: Option<u64>,
}

/// A program with an environment of its own, that can be stopped while it runs.
#[expect(
    missing_debug_implementations,
    reason = "its environment may hold secrets"
)]
pub struct Supervised<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub args: &'a [OsString],
    /// Its whole environment.
    pub environment: &'a [(&'a str, &'a OsStr)],
    /// Where it runs; where this process is when absent.
    pub directory: Option<&'a Path>,
    /// Its standard input.
    pub input: &'a [u8],
    /// How long it has.
    pub deadline: Duration,
    /// Asked several times a second; once it says yes, the program is killed.
    pub stop: &'a dyn Fn() -> bool,
    /// What it may use.
    pub limits: Limits,
}

/// Runs a program to its end, until its deadline, or until it is stopped; in
/// the last two cases everything in its process group is killed.
pub fn run_supervised(job: &Supervised<'_>) -> Result<Output, CommandError> {
    let started = Instant::now();
    let program = || job.program.to_owned();
    let child = start(job).map_err(|source| CommandError::Start {
        program: program(),
        source,
    })?;
    limit(&child, job.limits);
    let left = job.deadline.saturating_sub(started.elapsed());
    match attend(child, job, left) {
        Ok((output, End::Itself)) => Ok(output),
        Ok((_, End::Output(limit_bytes))) => Err(CommandError::Output {
            program: program(),
            limit_bytes,
        }),
        Ok((_, End::Stopped)) => Err(CommandError::Stopped { program: program() }),
        Ok((_, End::Deadline)) => Err(CommandError::Deadline {
            program: program(),
            deadline: job.deadline,
        }),
        Err(source) => Err(CommandError::Talk {
            program: program(),
            source,
        }),
    }
}

/// Why a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Itself,
    Stopped,
    Output(u64),
    Deadline,
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the module for outside programs"
)]
fn start(job: &Supervised<'_>) -> io::Result<Child> {
    let mut command = Command::new(job.program);
    command
        .args(job.args)
        .env_clear()
        .envs(job.environment.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = job.directory {
        command.current_dir(directory);
    }
    command.spawn()
}

/// Sets the limits of a child that has just been started. It cannot have come
/// far; that a limit is not set is for its other bounds to make good.
fn limit(child: &Child, limits: Limits) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    let set = |resource, bytes: Option<u64>| {
        if bytes.is_some() {
            let limit = Rlimit {
                current: bytes,
                maximum: bytes,
            };
            let _unlimited = prlimit(Some(pid), resource, limit);
        }
    };
    set(Resource::Fsize, limits.file_bytes);
    set(Resource::Data, limits.memory_bytes);
}

/// Feeds and reads the child to its end.
fn attend(mut child: Child, job: &Supervised<'_>, left: Duration) -> io::Result<(Output, End)> {
    let input = job.input;
    let overflow = AtomicBool::new(false);
    let full = &overflow;
    let limit = job.limits.output_bytes;
    let stop = || match limit {
        Some(limit) if overflow.load(Ordering::Relaxed) => Some(End::Output(limit)),
        _ => (job.stop)().then_some(End::Stopped),
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            // A program that wants no more of its input closes it; its own end tells the rest.
            let _closed = stdin.map(|mut stdin| stdin.write_all(input));
        });
        let out = scope.spawn(move || drain(stdout, limit.unwrap_or(OUTPUT_LIMIT), full));
        let err = scope.spawn(move || drain(stderr, OUTPUT_LIMIT, &AtomicBool::new(false)));
        let mut end = wait_until(&child, left, &stop).unwrap_or(End::Deadline);
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
        if let (End::Itself, Some(limit), true) = (end, limit, overflow.load(Ordering::Relaxed)) {
            end = End::Output(limit);
        }
        drop(feeder.join());
        let status = status?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        let output = Output {
            code: code.unwrap_or(-1),
            stdout: stdout?,
            stderr: stderr?,
        };
        Ok((output, end))
    })
}

/// Reads to the end and keeps what the limit allows; tells when there is more.
fn drain(pipe: Option<impl Read>, limit: u64, full: &AtomicBool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.by_ref().take(limit).read_to_end(&mut bytes)?;
        if pipe.by_ref().take(1).read_to_end(&mut Vec::new())? > 0 {
            full.store(true, Ordering::Relaxed);
        }
        io::copy(&mut pipe, &mut io::sink())?;
    }
    Ok(bytes)
}

/// Waits for the child's end, for `stop`, or for the time to pass.
fn wait_until(child: &Child, left: Duration, stop: &dyn Fn() -> Option<End>) -> io::Result<End> {
    /// How often `stop` is asked.
    const TURN: Duration = Duration::from_millis(100);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
    let end = Instant::now() + left;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left.min(TURN)).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) if ready > 0 => return Ok(End::Itself),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        if let Some(end) = stop() {
            return Ok(end);
        }
        if left.is_zero() {
            return Ok(End::Deadline);
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
    fn a_program_can_be_stopped_and_gets_its_own_environment() {
        let job = |script: &str, stop: &dyn Fn() -> bool| {
            run_supervised(&Supervised {
                program: Path::new("/bin/sh"),
                args: &["-c".into(), script.into()],
                environment: &[("NAME", OsStr::new("value"))],
                directory: Some(Path::new("/usr")),
                input: b"",
                deadline: LONG,
                stop,
                limits: Limits {
                    output_bytes: Some(100),
                    file_bytes: Some(1 << 20),
                    memory_bytes: None,
                },
            })
        };
        let endless = job("while :; do echo y; done", &|| false);
        assert!(matches!(
            endless,
            Err(CommandError::Output {
                limit_bytes: 100,
                ..
            })
        ));
        let much = job("echo $(seq 1000)", &|| false);
        assert!(matches!(much, Err(CommandError::Output { .. })));
        let limit = job("ulimit -f", &|| false).unwrap();
        assert_ne!(limit.stdout, b"unlimited\n");
        let output = job("echo $NAME $PWD", &|| false).unwrap();
        assert_eq!(output.stdout, b"value /usr\n");
        let stopped = job("sleep 60", &|| true);
        assert!(matches!(stopped, Err(CommandError::Stopped { .. })));
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
