//! The virtual machine: its start, the wire to it, its end.
//!
//! The machine is told what to do over a serial line, one script after the other,
//! and answers with the code and the output of each. Its console goes to a file,
//! which is shown when the machine does not answer.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::initrd::Initrd;
use super::kernel::Kernel;
use crate::support::{Outcome, busybox_archive, run_other};

const INIT: &str = include_str!("init.sh");
const AGENT: &str = include_str!("agent.sh");
/// A disk that holds nothing, for limits of disks.
const NO_DISK: &str = "driver=null-co,size=67108864,read-zeroes=on,node-name=disk";
/// Its memory: for the kernel, what is unpacked, and data roots.
const MEMORY: &str = "1024";
/// How long an answer may take on a busy machine, the boot included. The machine
/// itself ends a script earlier.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(20);
/// Kills the machine and removes its files when the test program has gone, however
/// it went: its end of the pipe closes then.
const GUARD: &str = "dir=$1; shift; trap '' INT TERM HUP; \"$@\" & qemu=$!; \
    cat > /dev/null; kill -9 $qemu; wait; rm -rf \"$dir\"";

/// A running machine.
#[derive(Debug)]
pub(super) struct Machine {
    line: UnixStream,
    turn: Mutex<()>,
    console: PathBuf,
    _guard: Child,
}

impl Machine {
    /// Boots the machine and loads `busybox:latest` there.
    pub(super) fn boot() -> Self {
        Self::boot_with(&["-blockdev", NO_DISK], "")
    }

    /// Boots the system on this disk, which stays as it is.
    pub(super) fn boot_from(disk: &Path) -> Self {
        // What is written goes to a file without a name.
        let text = format!(
            "id=disk,if=none,format=raw,snapshot=on,file={}",
            disk.display()
        );
        Self::boot_with(
            &["-drive", &text],
            "systemd.unit=agent.service systemd.show_status=0",
        )
    }

    fn boot_with(disk: &[&str], words: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("rbuild-test-vm-").tempdir();
        // The guard removes it, also when this program is killed.
        let dir = dir.unwrap().keep();
        let kernel = Kernel::get();
        let initrd = dir.join("initrd");
        std::fs::write(&initrd, archive(&kernel, &dir)).unwrap();
        let line = dir.join("line");
        let console = dir.join("console");
        let guard = start(&dir, &kernel, &initrd, disk, words);
        let machine = Self {
            line: connect(&line),
            turn: Mutex::new(()),
            console,
            _guard: guard,
        };
        // What is said before the machine listens is lost.
        assert_eq!(machine.hear().trim_end(), "ready");
        machine.sh("rbuild load < /busybox.tar").ok();
        machine
    }

    /// Runs a script there to its end, with nothing on standard input.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> Outcome {
        let mut order = BASE64_STANDARD.encode(script);
        order.push('\n');
        let answer = self.ask(&order);
        let mut fields = answer.trim_end_matches(['\r', '\n']).split(' ');
        let code = fields.next().and_then(|code| code.parse().ok());
        let mut bytes = || BASE64_STANDARD.decode(fields.next()?).ok();
        let (Some(code), Some(stdout), Some(stderr)) = (code, bytes(), bytes()) else {
            panic!("`{answer}` is no answer; console:\n{}", self.console());
        };
        Outcome {
            code,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Says a line and hears one; one test after the other.
    #[track_caller]
    fn ask(&self, order: &str) -> String {
        let Ok(_turn) = self.turn.lock() else {
            panic!("the machine is lost");
        };
        let mut line = &self.line;
        line.write_all(order.as_bytes()).unwrap();
        self.hear()
    }

    #[track_caller]
    fn hear(&self) -> String {
        let mut answer = String::new();
        let mut line = BufReader::new(&self.line);
        if let Err(err) = line.read_line(&mut answer) {
            let why = match err.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
                _ => err.to_string(),
            };
            panic!("{why}; console:\n{}", self.console());
        }
        answer
    }

    /// Runs the program there with these words, split at blanks.
    #[track_caller]
    pub(super) fn rbuild(&self, words: &str) -> Outcome {
        self.sh(&format!("rbuild {words}"))
    }

    /// Runs a script in a new container without a network.
    #[track_caller]
    pub(super) fn run(&self, flags: &str, script: &str) -> Outcome {
        let script = script.replace('\'', "'\\''");
        self.sh(&format!(
            "rbuild run --rm --network none {flags} busybox sh -c '{script}'"
        ))
    }

    /// Starts `sleep` in the background.
    #[track_caller]
    pub(super) fn up(&self, name: &str, flags: &str) {
        self.sh(&format!(
            "rbuild run -d --network none --name {name} {flags} busybox sleep 600"
        ))
        .ok();
    }

    /// A file of the cgroup that a container's first process is in.
    #[track_caller]
    pub(super) fn group_file(&self, name: &str, file: &str) -> String {
        let script = format!(
            "pid=$(rbuild inspect -f '{{{{.State.Pid}}}}' {name}) && \
             cat \"/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)/{file}\""
        );
        self.sh(&script).ok().to_owned()
    }

    fn console(&self) -> String {
        let bytes = std::fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn archive(kernel: &Kernel, work: &Path) -> Vec<u8> {
    let mut initrd = Initrd::default();
    for dir in [
        "bin", "debian", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp", "var",
    ] {
        initrd.dir(dir);
    }
    initrd.file("init", INIT.as_bytes());
    initrd.file("agent", AGENT.as_bytes());
    let busybox = crate::support::busybox_program().expect("the test asked for it first");
    initrd.file("bin/busybox", &std::fs::read(busybox).unwrap());
    let program = work.join("rbuild");
    let text = program.to_str().unwrap();
    // Most of it is of use to a debugger alone.
    run_other("strip", &["-o", text, env!("CARGO_BIN_EXE_rbuild")]);
    initrd.file("bin/rbuild", &std::fs::read(&program).unwrap());
    std::fs::remove_file(program).unwrap();
    initrd.file("busybox.tar", &busybox_archive());
    initrd.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    initrd.file("etc/group", b"root:x:0:\n");
    for module in &kernel.modules {
        let name = module.file_name().unwrap().to_string_lossy();
        initrd.file(&format!("modules/{name}"), &std::fs::read(module).unwrap());
    }
    initrd.finish()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the virtual machine is started here and nowhere else"
)]
fn start(dir: &Path, kernel: &Kernel, initrd: &Path, disk: &[&str], words: &str) -> Child {
    let beneath = |name: &str| dir.join(name).display().to_string();
    let line = format!("unix:{},server=on,wait=off", beneath("line"));
    let console = format!("file:{}", beneath("console"));
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).arg(dir);
    command.args([
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-smp",
        "2",
        "-m",
        MEMORY,
    ]);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ]);
    command.arg("-kernel").arg(&kernel.image);
    command.arg("-initrd").arg(initrd);
    let words = format!("console=ttyS0 quiet panic=-1 {words}");
    command.args(["-append", &words]);
    command.args(["-serial", &console, "-serial", &line]);
    command.args(disk);
    command.args(["-device", "virtio-blk-pci,drive=disk"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Connects to the serial line, as soon as qemu listens.
fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            Err(err) => assert!(Instant::now() < end, "qemu does not start: {err}"),
        }
        std::thread::sleep(PAUSE);
    }
}
