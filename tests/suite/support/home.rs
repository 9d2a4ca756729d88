//! A data root for one test, and the program running on it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::guard;

/// A data root of its own. Dropping it removes its containers, its network and
/// its files.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

/// How a run of the program ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The exit code; 128 and more for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error, as text.
    pub(crate) stderr: String,
}

impl Outcome {
    /// Standard output as text, without the line break at its end.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout)
            .expect("the program prints UTF-8")
            .trim_end()
    }

    /// Asserts success and returns standard output as text.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.text()
    }

    /// Asserts an exit code and that standard error says `part`, letter case ignored.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let said = self.stderr.to_lowercase().contains(&part.to_lowercase());
        assert!(said, "expected `{part}` in {self:?}");
    }
}

impl Home {
    /// An empty data root.
    pub(crate) fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix("rbuild-test-").tempdir();
        Self::at(made.expect("the temporary directory is writable"))
    }

    fn at(dir: TempDir) -> Self {
        guard::note(dir.path());
        Self { dir }
    }

    /// An empty data root in memory, where the machine has a place for that:
    /// thousands of files come and go much faster there.
    pub(crate) fn in_memory() -> Self {
        // TMPFS_MAGIC of linux/magic.h.
        let is_memory =
            |dir: &str| rustix::fs::statfs(dir).is_ok_and(|fs| fs.f_type == 0x0102_1994);
        let place = Some("/dev/shm").filter(|dir| is_memory(dir));
        let made = place.and_then(|dir| {
            let mut builder = tempfile::Builder::new();
            builder.prefix("rbuild-test-").tempdir_in(dir).ok()
        });
        made.map_or_else(Self::new, Self::at)
    }

    /// A data root with `busybox:latest` in it.
    pub(crate) fn with_busybox() -> Self {
        let home = Self::new();
        let archive = super::busybox_archive();
        home.run_with(&["load"], &archive).ok();
        home
    }

    /// A directory for the test's own files.
    pub(crate) fn scratch(&self) -> PathBuf {
        let path = self.dir.path().join("scratch");
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        path
    }

    /// Writes a file beneath the scratch directory and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.scratch().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("the temporary directory is writable");
        std::fs::write(&path, content).expect("the temporary directory is writable");
        path
    }

    /// The data root.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The runtime directory.
    pub(crate) fn run_root(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Runs the program to its end, with nothing on standard input.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        self.run_with(arguments, b"")
    }

    /// Runs the program to its end with `input` on standard input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Outcome {
        finish(self.command(arguments), input)
    }

    /// The program with its data root, ready for more arguments or to be started.
    #[allow(
        clippy::disallowed_methods,
        reason = "the program under test is started here and nowhere else"
    )]
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.arrange(Command::new(env!("CARGO_BIN_EXE_rbuild")), arguments)
    }

    /// Runs the program by another one, which gets its command line after its own.
    pub(crate) fn run_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], arguments: &[S]) -> Outcome {
        let output = self
            .command_in(wrapper, arguments)
            .stdin(Stdio::null())
            .output();
        outcome(output.expect("util-linux is installed"))
    }

    /// The program as another one starts it, ready to be started.
    #[allow(
        clippy::disallowed_methods,
        reason = "the program under test is started here and nowhere else"
    )]
    pub(crate) fn command_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], arguments: &[S]) -> Command {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]);
        command.arg(env!("CARGO_BIN_EXE_rbuild"));
        self.arrange(command, arguments)
    }

    /// Runs a script of this repository that uses the program as `$CLI $CLI_FLAGS`.
    #[allow(
        clippy::disallowed_methods,
        reason = "the program under test is started there"
    )]
    pub(crate) fn run_script(&self, script: &str) -> Outcome {
        let (root, run) = (self.root(), self.run_root());
        let flags = format!("--root {} --run-root {}", root.display(), run.display());
        let mut command = Command::new("bash");
        command
            .arg(script)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CLI", env!("CARGO_BIN_EXE_rbuild"))
            .env("CLI_FLAGS", flags)
            .env("TMPDIR", self.scratch());
        finish(command, b"")
    }

    fn arrange<S: AsRef<OsStr>>(&self, mut command: Command, arguments: &[S]) -> Command {
        // No test asks the registries of the world.
        let settings = self.dir.path().join("registries.toml");
        std::fs::write(&settings, "[registry.\"docker.io\"]\nblocked = true\n")
            .expect("the temporary directory is writable");
        command
            .arg("--root")
            .arg(self.root())
            .arg("--run-root")
            .arg(self.run_root())
            .args(arguments)
            .env_remove("BUILDKIT_PROGRESS")
            .env_remove("SOURCE_DATE_EPOCH")
            .env("NO_COLOR", "1")
            .env("RBUILD_REGISTRIES", settings)
            .current_dir(self.dir.path());
        command
    }
}

/// Runs a command to its end with `input` on standard input.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut stdin = child.stdin.take().expect("it was piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that needs no input may close it early.
            let _closed = stdin.write_all(input);
            drop(stdin);
        });
        let output = child
            .wait_with_output()
            .expect("the program can be waited for");
        outcome(output)
    })
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.root().join("index.sqlite").exists() {
            return;
        }
        let paths = rbuild::store::Paths::new(self.root(), self.run_root());
        let Ok(store) = rbuild::store::Store::open(paths) else {
            return;
        };
        for container in store.container_list().unwrap_or_default() {
            self.run(&["rm", "-f", &container.id]);
        }
        for network in rbuild::network::list(&store).unwrap_or_default() {
            let _predefined = rbuild::network::remove(&store, &network, &|_| String::new());
        }
        // A test that used no network has none to take down.
        let _nothing_there = rbuild::network::teardown_default(&store);
    }
}

fn outcome(output: std::process::Output) -> Outcome {
    Outcome {
        code: code(output.status),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(super) fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

/// Whether overlayfs can have its writable layer among the temporary files; a
/// system that itself runs on an overlay cannot.
pub(super) fn overlay_probe() -> Result<(), String> {
    let dir = std::env::temp_dir();
    let kind = rustix::fs::statfs(&dir)
        .map_err(|err| err.to_string())?
        .f_type;
    // OVERLAYFS_SUPER_MAGIC of linux/magic.h.
    if kind == 0x794c_7630 {
        return Err(format!(
            "`{}` is on overlayfs; set TMPDIR to a directory that is not",
            dir.display()
        ));
    }
    Ok(())
}
