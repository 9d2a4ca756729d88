//! Calling the runtime.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};
use serde_json::Value;

use super::super::super::INIT_ARGV0;
use super::super::super::failure::{During, Failure, Step};
use super::super::super::outside::Runtime;
use crate::sys::cgroup::Hierarchies;
use crate::sys::command;

/// How long one call may take: a runtime may boot a machine.
const DEADLINE: Duration = Duration::from_mins(2);
/// Most of a runtime's log that is read.
const LOG_LIMIT: u64 = 64 << 10;
/// The file with the number of the process that keeps the container.
const KEEPER: &str = "keeper";
/// Where a runtime finds programs of its own, and hooks theirs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The runtime, ready to be called.
pub(super) struct Call<'a> {
    runtime: &'a Runtime,
}

impl<'a> Call<'a> {
    /// Makes the directory and a mount namespace of this process' own, in which the
    /// runtime is called.
    pub(super) fn prepare(runtime: &'a Runtime) -> Step<Self> {
        let dir = &runtime.dir;
        std::fs::create_dir_all(dir).during_with(|| format!("make `{}`", dir.display()))?;
        unshare(UnshareFlags::NEWNS).during("make a mount namespace")?;
        Ok(Self { runtime })
    }

    /// Makes the directory ready for calls about a container that is there, in the
    /// mount namespace that it was made in: some runtimes look for its root again.
    pub(super) fn join(runtime: &'a Runtime) -> Step<Self> {
        if let Some(keeper) = keeper(&runtime.dir)
            && move_into_thread_name_spaces(keeper.as_fd(), ThreadNameSpaceType::MOUNT).is_ok()
        {
            return Ok(Self { runtime });
        }
        Self::prepare(runtime)
    }

    /// Notes that this process keeps the container.
    pub(super) fn keep(&self) -> Step<()> {
        let own = rustix::process::getpid().as_raw_nonzero();
        let file = self.runtime.dir.join(KEEPER);
        std::fs::write(file, own.to_string()).during("note the container's keeper")
    }

    /// The runtime once more, after [`Call::prepare`].
    pub(super) fn again(runtime: &'a Runtime) -> Self {
        Self { runtime }
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime
    }

    /// A file in the runtime's directory.
    pub(super) fn file(&self, name: &str) -> String {
        self.runtime.dir.join(name).to_string_lossy().into_owned()
    }

    /// Writes the bundle; returns its path.
    pub(super) fn write_bundle(&self, config: &str) -> Step<String> {
        let bundle = self.file("bundle");
        let step = || format!("write the bundle `{bundle}`");
        std::fs::create_dir_all(&bundle).during_with(step)?;
        std::fs::write(Path::new(&bundle).join("config.json"), config).during_with(step)?;
        self.runtime.leave_note().during_with(step)?;
        Ok(bundle)
    }

    /// Ends and forgets the container, if the runtime knows it. That it does not is fine.
    pub(super) fn forget(&self) {
        let known = self.runtime.dir.join("state").join(&self.runtime.id);
        if known.exists() {
            let _unknown = self.run("delete", &["delete", "--force", &self.runtime.id], None);
        }
        self.tidy_groups();
    }

    /// Removes what a runtime leaves of groups above the container's own.
    pub(super) fn tidy_groups(&self) {
        let config = std::fs::read(self.runtime.dir.join("bundle/config.json"));
        let config = config
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        if let Some(name) = config
            .as_ref()
            .and_then(|config| config["linux"]["cgroupsPath"].as_str())
        {
            Hierarchies::remove_empty_above(name.trim_start_matches('/'));
        }
    }

    /// Calls it with these words and streams.
    pub(super) fn run(
        &self,
        verb: &str,
        words: &[&str],
        streams: Option<[BorrowedFd<'_>; 3]>,
    ) -> Step<()> {
        hide_mixed_cgroups()?;
        let own = rustix::process::getpid().as_raw_nonzero();
        let log = self.file(&format!("log-{own}"));
        let state = self.file("state");
        let mut args: Vec<OsString> = self.runtime.args.iter().map(OsString::from).collect();
        let global = ["--root", &state, "--log", &log, "--log-format", "json"];
        args.extend(global.iter().chain(words).map(OsString::from));
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.during("open `/dev/null`")?;
        let streams = streams.unwrap_or([null.as_fd(); 3]);
        let program = &self.runtime.path;
        let done = command::run_with_streams(program, &args, &[("PATH", PATH)], streams, DEADLINE);
        let said = last_error(Path::new(&log));
        let _absent = std::fs::remove_file(&log);
        let name = program.file_name().unwrap_or(program.as_os_str());
        let name = name.to_string_lossy();
        let why = match done {
            Ok(0) => return Ok(()),
            Ok(code) => said.unwrap_or_else(|| format!("{name} ended with {code} and no word")),
            Err(err) => {
                let cause = std::error::Error::source(&err).map(ToString::to_string);
                format!(
                    "{err}{}",
                    cause.map_or(String::new(), |cause| format!(": {cause}"))
                )
            }
        };
        Err(Failure::Runtime {
            code: code_of(&why),
            message: format!("OCI runtime {verb} failed: {}", why.trim_end()),
        })
    }
}

/// The process that keeps the container, if it lives.
fn keeper(dir: &Path) -> Option<OwnedFd> {
    let text = std::fs::read_to_string(dir.join(KEEPER)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    let keeper = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after it was opened: the number may be another's by now.
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    (name.trim() == INIT_ARGV0).then_some(keeper)
}

/// The last error in a runtime's log.
fn last_error(log: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(log).ok()?;
    // A log that is cut off within a character is no reason to say nothing.
    let mut bytes = Vec::new();
    file.take(LOG_LIMIT).read_to_end(&mut bytes).ok()?;
    text.push_str(&String::from_utf8_lossy(&bytes));
    let entries = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors = entries.filter(|entry| {
        let level = entry["level"].as_str().unwrap_or("error");
        matches!(level, "error" | "fatal" | "panic")
    });
    errors
        .filter_map(|entry| entry["msg"].as_str().map(str::to_owned))
        .next_back()
}

/// The exit code that Docker takes a runtime's words for.
///
/// Source: moby `daemon/errors.go`, what a start's error means.
fn code_of(why: &str) -> u8 {
    let why = why.to_ascii_lowercase();
    let has = |part: &str| why.contains(part);
    let about_program = has("exec") || has("executable");
    if about_program && (has("not found") || has("no such file or directory")) {
        127
    } else if about_program
        && [
            "permission denied",
            "not permitted",
            "is a directory",
            "exec format",
        ]
        .iter()
        .any(|part| has(part))
    {
        126
    } else {
        125
    }
}

/// Hides the second version's tree where the first one's controllers are mounted
/// too: not every runtime understands the two side by side, and each understands
/// the first one alone. Only this process' mounts change.
fn hide_mixed_cgroups() -> Step<()> {
    const STEP: &str = "prepare the mounts for the runtime";
    // What is changed here must not reach the host, which may still be heard.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    if let Some(unified) = Hierarchies::discover().mixed() {
        rustix::mount::mount_change("/", slave).during(STEP)?;
        rustix::mount::unmount(unified, UnmountFlags::DETACH).during(STEP)?;
    }
    Ok(())
}

#[allow(
    deprecated,
    reason = "the safe form; what the other warns about, descriptor tables, is not unshared"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_runtimes_are_understood() {
        for (why, code) in [
            (
                "runc create failed: unable to start container process: exec: \"x\": executable file not found in $PATH",
                127,
            ),
            (
                "executable file `x` not found in $PATH: No such file or directory",
                127,
            ),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("open executable: Operation not permitted", 126),
            ("mount `x` to `y`: No such file or directory", 125),
        ] {
            assert_eq!(code_of(why), code, "{why}");
        }
    }

    #[test]
    fn the_last_error_of_a_log_is_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let text = concat!(
            "{\"level\":\"warning\",\"msg\":\"w\"}\n",
            "{\"level\":\"error\",\"msg\":\"first\"}\n",
            "{\"msg\":\"last\",\"level\":\"error\"}\nno document\n",
        );
        std::fs::write(&log, text).unwrap();
        assert_eq!(last_error(&log).as_deref(), Some("last"));
        assert_eq!(last_error(&dir.path().join("none")), None);
    }
}
