//! Docker's own daemon and client (package `docker.io`), with files of their own and
//! nothing to do with this machine's network or containers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::run_other;

/// How long the daemon may take until it answers, and to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running daemon; it ends, and its files go, with this value.
#[derive(Debug)]
pub(crate) struct Docker {
    child: Child,
    programs: PathBuf,
    dir: TempDir,
}

impl Docker {
    /// Starts one, in a mount namespace of its own, without bridge and firewall rules.
    #[allow(
        clippy::disallowed_methods,
        reason = "another program is what the tests talk to"
    )]
    pub(crate) fn new() -> Self {
        let programs = programs().expect("the test asked for it first");
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("rbuild-test-docker-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("config"), "{}").expect("the temporary directory is writable");
        let log = std::fs::File::create(path("log")).expect("the temporary directory is writable");
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "dockerd"]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--storage-driver=vfs", "--insecure-registry=127.0.0.0/8"]);
        for (flag, name) in [
            ("--config-file", "config"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(path(name));
        }
        command.args(["-H", &format!("unix://{}", path("socket").display())]);
        let child = command
            .env("PATH", search_path(&programs))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("util-linux is installed");
        let mut docker = Self {
            child,
            programs,
            dir,
        };
        docker.wait();
        docker
    }

    fn wait(&mut self) {
        let began = Instant::now();
        while self.start(&["version"]).is_err() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "dockerd ended: {log}");
            assert!(began.elapsed() < PATIENCE, "dockerd is mute: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs the client, which has to succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.start(arguments)
            .unwrap_or_else(|errors| panic!("docker {arguments:?}: {errors}"))
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "another program's opinion is what the test asks for"
    )]
    fn start(&self, arguments: &[&str]) -> Result<String, String> {
        let path = |name: &str| self.dir.path().join(name);
        let output = Command::new("docker")
            .args(arguments)
            .env("PATH", search_path(&self.programs))
            .env(
                "DOCKER_HOST",
                format!("unix://{}", path("socket").display()),
            )
            .env("DOCKER_CONFIG", path("client"))
            .env_remove("DOCKER_CONTEXT")
            .output()
            .expect("it is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its own containerd when it is asked to.
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn search_path(programs: &Path) -> String {
    let programs = programs.display();
    format!(
        "{programs}/usr/bin:{programs}/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
}

/// Where the programs lie beneath: `/` where they are installed, else a directory to which
/// their packages are unpacked. Installing them would start a daemon.
fn programs() -> Result<PathBuf, String> {
    static PROGRAMS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = |program: &str| rbuild::sys::command::find(program, None).is_some();
    if found("dockerd") && found("docker") {
        return Ok(PathBuf::from("/"));
    }
    PROGRAMS.get_or_init(unpacked).clone()
}

fn unpacked() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = place.join("docker");
    if dir.exists() {
        return Ok(dir);
    }
    if lacking().is_some() {
        return Err("there is no apt-get".to_owned());
    }
    let told = |err: std::io::Error| err.to_string();
    let work = tempfile::tempdir_in(place).map_err(told)?;
    let tree = work.path().join("tree");
    let (packages, text) = (
        work.path().display().to_string(),
        tree.display().to_string(),
    );
    let script = "cd \"$1\" && apt-get -q download docker.io containerd runc && \
        for package in *.deb; do dpkg -x \"$package\" \"$2\" || exit 1; done";
    run_other("sh", &["-c", script, "sh", &packages, &text]);
    // Whole or not there, whoever else is doing the same.
    match std::fs::rename(&tree, &dir) {
        Err(_) if dir.exists() => Ok(dir),
        renamed => renamed.map(|()| dir).map_err(told),
    }
}

/// Why there is no Docker.
pub(super) fn lacking() -> Option<String> {
    let found = |program: &str| rbuild::sys::command::find(program, None).is_some();
    let there = (found("dockerd") && found("docker")) || (found("apt-get") && found("dpkg"));
    (!there).then(|| "needs docker and dockerd, or apt-get to fetch them".to_owned())
}
