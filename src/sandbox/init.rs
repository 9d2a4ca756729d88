//! Child side, after re-execution: namespaces, root file system, identity, exec.
//!
//! Two processes: this one, which makes the namespaces, waits for the program
//! and reports; and its only child, the first process of the pid namespace,
//! which becomes the program.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::channel::{self, Order, Report};
use super::rootfs::During;
use super::{NetworkNamespace, Spec, identity, rootfs};
use crate::sys::process::{self, Fork};

/// Search path where the environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the program does not run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    step: String,
    errno: i32,
    /// Whether it is the program itself that could not be executed.
    program: bool,
}

impl Failure {
    pub(super) fn step(step: &str, err: &io::Error) -> Self {
        Self {
            step: step.to_owned(),
            errno: err.raw_os_error().unwrap_or(libc::EIO),
            program: false,
        }
    }

    fn report(self) -> Report {
        if self.program {
            Report::NotExecuted {
                command: self.step,
                errno: self.errno,
            }
        } else {
            Report::Failed {
                step: self.step,
                errno: self.errno,
            }
        }
    }
}

/// Runs as a sandbox's init: reads the order from its standard input (a
/// socket), makes the namespaces and the root file system, starts the program
/// and reports its end. Returns the process' exit code.
pub fn main() -> i32 {
    let Ok(socket) = take_socket() else { return 1 };
    let Ok(Some((order, descriptors))) = channel::receive::<Order>(&socket) else {
        return 1;
    };
    match run(&socket, order, descriptors) {
        Ok(()) => 0,
        Err(failure) => {
            drop(channel::send(&socket, &failure.report(), &[]));
            1
        }
    }
}

/// Moves the socket away from standard input.
fn take_socket() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(socket))
}

fn run(socket: &UnixStream, order: Order, mut descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
    let spec = &order.spec;
    if spec.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during("follow the parent")?;
    }
    let wanted = usize::from(order.has_network)
        + usize::from(order.enters)
        + if order.has_stdio { 3 } else { 0 };
    if descriptors.len() != wanted {
        return Err(Failure::step(
            "receive descriptors",
            &io::ErrorKind::InvalidData.into(),
        ));
    }
    let entered = order.enters.then(|| descriptors.pop()).flatten();
    let network = order.has_network.then(|| descriptors.pop()).flatten();
    let warnings = Vec::new();
    if let Some(entered) = &entered {
        use rustix::thread::{ThreadNameSpaceType as Kind, move_into_thread_name_spaces};
        let kinds = Kind::PROCESS_ID
            | Kind::NETWORK
            | Kind::INTER_PROCESS_COMMUNICATION
            | Kind::HOST_NAME_AND_NIS_DOMAIN_NAME
            | Kind::CONTROL_GROUP;
        move_into_thread_name_spaces(entered.as_fd(), kinds).during("enter the namespaces")?;
    } else {
        join_network(spec, network)?;
        let namespaces = UnshareFlags::NEWNS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP;
        rustix::thread::unshare(namespaces).during("make namespaces")?;
    }
    let (mut verdict, tell) = io::pipe().during("open a pipe")?;
    match process::fork_single_threaded(!order.enters).during("start the first process")? {
        Fork::Child => {
            drop(verdict);
            let failure = become_program(&order, descriptors, entered, socket);
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            drop((&tell).write_all(&text));
            process::exit_now(127)
        }
        Fork::Parent(pid) => {
            drop((tell, descriptors));
            let mut text = Vec::new();
            verdict
                .read_to_end(&mut text)
                .during("hear of the program")?;
            if !text.is_empty() {
                drop(wait(pid));
                let lost =
                    || Failure::step("start the program", &io::ErrorKind::InvalidData.into());
                return Err(serde_json::from_slice(&text).unwrap_or_else(|_| lost()));
            }
            watch(socket, pid, warnings)
        }
    }
}

fn join_network(spec: &Spec, network: Option<OwnedFd>) -> Result<(), Failure> {
    match (spec.network, network) {
        (NetworkNamespace::Host, _) => Ok(()),
        (NetworkNamespace::Passed, Some(network)) => rustix::thread::move_into_link_name_space(
            network.as_fd(),
            Some(LinkNameSpaceType::Network),
        )
        .during("join the network namespace"),
        (NetworkNamespace::Passed, None) => Err(Failure::step(
            "join the network namespace",
            &io::ErrorKind::InvalidInput.into(),
        )),
        (NetworkNamespace::Isolated, _) => {
            rustix::thread::unshare(UnshareFlags::NEWNET).during("make a network namespace")?;
            process::loopback_up().during("bring the loopback device up")
        }
    }
}

/// Becomes the program. Comes back only with the reason why not.
fn become_program(
    order: &Order,
    descriptors: Vec<OwnedFd>,
    entered: Option<OwnedFd>,
    socket: &UnixStream,
) -> Failure {
    match prepare(order, descriptors, entered, socket) {
        Ok(program) => {
            let err = process::execute(&program.path, &program.argv, &program.env);
            Failure {
                program: true,
                ..Failure::step(&order.spec.argv[0], &err)
            }
        }
        Err(failure) => failure,
    }
}

/// What `execve` gets.
struct Program {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

fn prepare(
    order: &Order,
    descriptors: Vec<OwnedFd>,
    entered: Option<OwnedFd>,
    socket: &UnixStream,
) -> Result<Program, Failure> {
    let spec = &order.spec;
    if spec.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during("follow the parent")?;
    }
    rustix::process::setsid().during("start a session")?;
    if let Some(entered) = entered {
        let mount = rustix::thread::ThreadNameSpaceType::MOUNT;
        rustix::thread::move_into_thread_name_spaces(entered.as_fd(), mount)
            .during("enter the root file system")?;
    } else {
        if let Some(name) = &spec.hostname {
            rustix::system::sethostname(name.as_bytes()).during("set the host name")?;
        }
        rootfs::enter(spec)?;
        sysctls(spec)?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    connect(order, descriptors, socket)?;
    identity::limits(spec);
    if spec.create_cwd && !spec.cwd.exists() {
        std::fs::create_dir_all(&spec.cwd).during("make the working directory")?;
    }
    process::reset_signals().during("reset the signals")?;
    let texts = |list: &[String]| -> Result<Vec<CString>, Failure> {
        let each = list
            .iter()
            .map(|text| CString::new(text.as_str()).map_err(io::Error::from));
        each.collect::<Result<_, _>>().during("read the command")
    };
    let (argv, env) = (texts(&spec.argv)?, texts(&spec.env)?);
    // With privileges the filter needs no `no_new_privs`, so it comes before they are dropped.
    if !spec.no_new_privileges {
        install(order)?;
    }
    identity::assume(spec)?;
    if spec.die_with_parent {
        // Changing the user clears it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during("follow the parent")?;
    }
    let cwd = format!("enter the working directory {}", spec.cwd.display());
    rustix::process::chdir(&spec.cwd).during(&cwd)?;
    let path = find_program(spec)?;
    if spec.no_new_privileges {
        rustix::thread::set_no_new_privs(true).during("give up new privileges")?;
        install(order)?;
    }
    process::close_on_exec_from(3).during("close descriptors")?;
    Ok(Program { path, argv, env })
}

fn install(order: &Order) -> Result<(), Failure> {
    for filter in &order.filters {
        process::install_filter(filter).during("install the system call filter")?;
    }
    Ok(())
}

fn sysctls(spec: &Spec) -> Result<(), Failure> {
    for (name, value) in &spec.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value).during(&format!("set {name}"))?;
    }
    Ok(())
}

/// Standard input, output and error: those that came along, or a terminal.
fn connect(order: &Order, descriptors: Vec<OwnedFd>, socket: &UnixStream) -> Result<(), Failure> {
    let spec = &order.spec;
    use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
    if let [stdin, stdout, stderr] = descriptors.as_slice() {
        dup2_stdin(stdin).during("connect standard input")?;
        dup2_stdout(stdout).during("connect standard output")?;
        return dup2_stderr(stderr).during("connect standard error");
    }
    let Some(size) = spec.terminal else {
        return Err(Failure::step(
            "open a terminal",
            &io::ErrorKind::InvalidInput.into(),
        ));
    };
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/ptmx", flags, rustix::fs::Mode::empty())
        .during("open a terminal")?;
    unlockpt(&master).during("open a terminal")?;
    let peer = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)
        .during("open a terminal")?;
    if size.rows > 0 && size.columns > 0 {
        let size = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&peer, size).during("size the terminal")?;
    }
    channel::send(socket, &Report::Terminal, &[master.as_fd()]).during("hand over the terminal")?;
    rustix::process::ioctl_tiocsctty(&peer).during("take the terminal")?;
    drop(rustix::fs::fchown(
        &peer,
        Some(rustix::fs::Uid::from_raw(spec.uid)),
        None,
    ));
    dup2_stdin(&peer).during("connect standard input")?;
    dup2_stdout(&peer).during("connect standard output")?;
    dup2_stderr(&peer).during("connect standard error")?;
    if order.enters {
        return Ok(());
    }
    console(&peer)
}

/// `/dev/console` is the terminal.
fn console(peer: &OwnedFd) -> Result<(), Failure> {
    std::fs::File::create("/dev/console").during("create /dev/console")?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", peer.as_raw_fd()))
        .during("name the terminal")?;
    rustix::mount::mount_bind(&name, "/dev/console").during("bind /dev/console")
}

/// The program's path: as given when it has a slash, else from the PATH of its
/// environment.
fn find_program(spec: &Spec) -> Result<CString, Failure> {
    let name = spec.argv.first().map_or("", String::as_str);
    let missing = |errno: i32| Failure {
        step: name.to_owned(),
        errno,
        program: true,
    };
    let to_c = |path: &str| CString::new(path).map_err(|_| missing(libc::ENOENT));
    if name.is_empty() {
        return Err(missing(libc::ENOENT));
    }
    if name.contains('/') {
        return check(Path::new(name))
            .map_err(missing)
            .and_then(|()| to_c(name));
    }
    let path = spec
        .env
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut worst = libc::ENOENT;
    for dir in path.split(':') {
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        match check(&candidate) {
            Ok(()) => return to_c(&candidate.to_string_lossy()),
            Err(libc::ENOENT | libc::ENOTDIR) => {}
            Err(errno) => worst = errno,
        }
    }
    Err(missing(worst))
}

fn check(path: &Path) -> Result<(), i32> {
    let errno = |err: &io::Error| err.raw_os_error().unwrap_or(libc::EIO);
    let meta = std::fs::metadata(path).map_err(|err| errno(&err))?;
    if meta.is_dir() {
        return Err(libc::EISDIR);
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(|err| err.raw_os_error())
}

/// Waits for the program and reports its end.
fn watch(socket: &UnixStream, pid: i32, warnings: Vec<String>) -> Result<(), Failure> {
    // Opened here: once this process has waited, the number may mean another one.
    let process = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    let process = process
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
        .during("watch the program")?;
    let started = Report::Started { pid, warnings };
    channel::send(socket, &started, &[process.as_fd()]).during("report the start")?;
    drop(process);
    let status = wait(pid).during("wait for the program")?;
    let report = Report::Ended {
        code: status.exit_status(),
        signal: status.terminating_signal().unwrap_or(0),
        out_of_memory: false,
    };
    channel::send(socket, &report, &[]).during("report the end")
}

fn wait(pid: i32) -> io::Result<WaitStatus> {
    loop {
        match rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}
