//! A busybox root file system and a sandbox on it.

use std::io::{Read, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Once;

use rbuild::sandbox::{
    self, DEFAULT_CAPABILITIES, Error, Exit, Mount, MountKind, NetworkNamespace, Overlay, Reach,
    ResourceLimits, RootFs, Running, Seccomp, Spec, Stdio,
};
use tempfile::TempDir;

use crate::support::{Need, needs};

/// The commands that the tests use.
const APPLETS: &str = "cat cp dd echo env false grep head hostname id ip kill ln ls mkdir mknod \
    mount mv od printf ps pwd readlink rm sh sleep sort stat stty test touch true tty umount unshare wc";

/// Directories of one sandbox, removed when dropped.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) top: PathBuf,
    _dir: Option<TempDir>,
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) out_of_memory: bool,
    pub(super) warnings: Vec<String>,
}

impl Outcome {
    /// Asserts exit code 0 and returns standard output without its last line break.
    #[track_caller]
    pub(super) fn ok(&self) -> &str {
        assert_eq!(self.exit, Exit::Code(0), "{self:?}");
        self.stdout.trim_end()
    }
}

impl Base {
    /// A fresh one; nothing, with a message, where it cannot be.
    pub(super) fn new() -> Option<Self> {
        if !needs(&[Need::Root, Need::Busybox, Need::Overlay]) {
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("rbuild-sandbox-")
            .tempdir()
            .unwrap();
        let base = Self::at(dir.path());
        let base = Self {
            _dir: Some(dir),
            ..base
        };
        for name in [
            "lower/bin",
            "lower/etc",
            "lower/tmp",
            "upper",
            "work",
            "mnt",
        ] {
            std::fs::create_dir_all(base.top.join(name)).unwrap();
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"]
            .iter()
            .find(|path| Path::new(path).exists())
            .unwrap();
        std::fs::copy(busybox, base.top.join("lower/bin/busybox")).unwrap();
        for name in APPLETS.split_whitespace() {
            std::os::unix::fs::symlink("busybox", base.top.join("lower/bin").join(name)).unwrap();
        }
        std::fs::write(base.top.join("lower/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        for name in ["dev", "proc", "sys", "etc"] {
            std::fs::create_dir_all(base.top.join("stubs").join(name)).unwrap();
        }
        for name in ["hosts", "hostname", "resolv.conf"] {
            std::fs::write(base.top.join("stubs/etc").join(name), "").unwrap();
        }
        Some(base)
    }

    /// One that was made already.
    pub(super) fn at(top: &Path) -> Self {
        static PROGRAM: Once = Once::new();
        PROGRAM.call_once(|| {
            sandbox::set_program(Path::new(env!("CARGO_BIN_EXE_rbuild"))).unwrap();
        });
        Self {
            top: top.to_owned(),
            _dir: None,
        }
    }

    /// Docker's defaults for a command.
    pub(super) fn spec(&self, argv: &[&str]) -> Spec {
        Spec {
            rootfs: RootFs {
                mountpoint: self.top.join("mnt"),
                overlay: Overlay {
                    lower: vec![self.top.join("lower"), self.top.join("stubs")],
                    upper: self.top.join("upper"),
                    work: self.top.join("work"),
                    volatile: true,
                },
            },
            mounts: Vec::new(),
            argv: argv.iter().map(|text| (*text).to_owned()).collect(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: PathBuf::from("/"),
            create_cwd: true,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            hostname: Some("box".to_owned()),
            network: NetworkNamespace::Isolated,
            capabilities: DEFAULT_CAPABILITIES.to_vec(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            mask_paths: true,
            read_only: false,
            rlimits: Vec::new(),
            shm_bytes: 64 << 20,
            sysctls: Vec::new(),
            terminal: None,
            cgroup: None,
            resources: ResourceLimits::default(),
            die_with_parent: true,
            particulars: rbuild::sandbox::Particulars::default(),
        }
    }

    /// The same for a shell script.
    pub(super) fn script(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    /// Runs a script with defaults; returns what it printed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        run(&self.script(script)).unwrap().ok().to_owned()
    }
}

/// Mounts a file or directory of the host.
pub(super) fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source: source.to_owned(),
            propagation: None,
            reach: Reach::All,
        },
        target: PathBuf::from(target),
        read_only,
    }
}

/// Runs a sandbox to its end.
pub(super) fn run(spec: &Spec) -> Result<Outcome, Error> {
    run_with(|stdio| sandbox::spawn(spec, stdio, None))
}

/// Runs what `start` starts to its end.
pub(super) fn run_with(
    start: impl FnOnce(Stdio<'_>) -> Result<Running, Error>,
) -> Result<Outcome, Error> {
    let (stdout, out) = pipe().unwrap();
    let (stderr, err) = pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut running = start(Stdio::Descriptors {
        stdin: null.as_fd(),
        stdout: out.as_fd(),
        stderr: err.as_fd(),
    })?;
    drop((out, err));
    let read = |mut pipe: std::io::PipeReader| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        })
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    let exit = running.wait().unwrap();
    Ok(Outcome {
        exit,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        out_of_memory: running.out_of_memory(),
        warnings: running.warnings().to_vec(),
    })
}

/// Starts a sandbox whose output nobody reads.
pub(super) fn start(spec: &Spec) -> Running {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let null: BorrowedFd<'_> = null.as_fd();
    let stdio = Stdio::Descriptors {
        stdin: null,
        stdout: null,
        stderr: null,
    };
    sandbox::spawn(spec, stdio, None).unwrap()
}
