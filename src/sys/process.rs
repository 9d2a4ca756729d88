//! Starting ourselves again, forking while there is one thread, and what comes
//! right before a program is executed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::mount::{Attributes, set_attributes};

/// The program that [`spawn_self`] starts.
static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();

/// Makes [`spawn_self`] start the program at `path` instead of the running one:
/// for test programs, whose own entry knows nothing of ours. The first call, or
/// the first start, decides.
pub fn set_program(path: &Path) -> io::Result<()> {
    let program = seal(path)?;
    // A later call changes nothing, as said above.
    let _decided = PROGRAM.set(program);
    Ok(())
}

fn program() -> io::Result<BorrowedFd<'static>> {
    if let Some(program) = PROGRAM.get() {
        return Ok(program.as_fd());
    }
    let program = seal(Path::new("/proc/self/exe"))?;
    Ok(PROGRAM.get_or_init(|| program).as_fd())
}

/// Opens a program through a read-only mount of its own that is attached nowhere.
///
/// What runs in a sandbox can reach the file of the process that became it: an
/// image whose command is a script for the interpreter `/proc/self/exe` runs our
/// file in there, and `/proc/<pid>/exe` of that process opens for writing
/// (CVE-2019-5736). Through a read-only mount it does not.
fn seal(path: &Path) -> io::Result<OwnedFd> {
    let sealed = || -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, path, flags)?;
        set_attributes(
            tree.as_fd(),
            &Attributes {
                set: libc::MOUNT_ATTR_RDONLY,
                ..Attributes::default()
            },
        )?;
        Ok(tree)
    };
    // Without the right to mount, whoever could overwrite the file is its owner anyway.
    sealed().or_else(|_| {
        let plain = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(plain)
    })
}

/// Freed memory is not kept for the next use of the same size: what we start again
/// works once and waits long, and such pieces hold a page each.
const TUNABLES: &str = "glibc.malloc.tcache_count=0";

/// Starts this program again under the name `argv0`, with `stdin` as its
/// standard input, no environment but the allocator's, no other descriptor and nowhere to print.
///
/// No memory is copied, whatever the size of this process: the standard library
/// starts it with `posix_spawn`, which shares memory until the program is executed.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the module that starts processes"
)]
pub fn spawn_self(argv0: &str, stdin: OwnedFd) -> io::Result<Offspring> {
    // Ours are marked already; others came from whoever started this process, and
    // a container would keep their pipes open for as long as it lives.
    close_on_exec_from(3)?;
    let child = Command::new(descriptor_path(program()?.as_raw_fd()))
        .arg0(argv0)
        .env_clear()
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(Offspring {
        pid: pid.ok_or(rustix::io::Errno::SRCH)?,
    })
}

/// Runs `entry` in a fork of this process, with `stdin` as its standard input, no
/// other descriptor and this process' outputs. Loading a program again takes longer
/// than copying a small process, which shares its memory until one of them writes.
///
/// # Errors
/// `EINVAL` when this process has more than one thread.
pub fn fork_self(stdin: &OwnedFd, entry: fn() -> i32) -> io::Result<Offspring> {
    match fork_single_threaded(0)? {
        Fork::Parent { pid, .. } => Ok(Offspring {
            pid: Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?,
        }),
        Fork::Child => {
            let ready = rustix::stdio::dup2_stdin(stdin).is_ok() && close_from(3).is_ok();
            exit_now(if ready { entry() } else { 1 })
        }
    }
}

/// A process that this one started.
#[derive(Debug)]
pub struct Offspring {
    pid: Pid,
}

impl Offspring {
    /// Waits for its end.
    ///
    /// # Errors
    /// `ECHILD` when it was waited for before.
    pub fn wait(&self) -> io::Result<()> {
        rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()))?;
        Ok(())
    }
}

/// Makes the allocator of a process that is to stay small put what is larger than a
/// page apart, where it goes back to the system when it is freed: otherwise it leaves
/// holes between what stays, page for page.
pub fn stay_small() {
    const PAGE: libc::c_int = 4 << 10;
    // One arena is for all threads, and what is freed is put together at once.
    let settings = [
        (libc::M_MMAP_THRESHOLD, PAGE),
        (libc::M_ARENA_MAX, 1),
        (libc::M_MXFAST, 0),
    ];
    for (setting, value) in settings {
        // SAFETY: always safe to call; a setting that is not known is refused.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// Gives memory that was freed back to the system, and that of the main thread's stack
/// which nothing is on now. What a process needed once, to start something, it keeps
/// for ever otherwise.
pub fn give_memory_back() {
    const PAGE: usize = 4 << 10;
    // Well below this function's own frame and the calls that it makes.
    const SPARED: usize = 2 * PAGE;
    const DEEPEST: usize = 128 << 10;
    // SAFETY: always safe to call; it takes freed memory alone.
    unsafe { libc::malloc_trim(0) };
    let here = 0_u8;
    let top = (std::ptr::addr_of!(here).addr() & !(PAGE - 1)) - SPARED;
    // SAFETY: what lies below the frames in use means nothing, and reads as zeros from
    // here on. The kernel keeps other mappings a MiB away from the main thread's stack;
    // where the stack is shorter than this, the rest is not mapped, which it says.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(top - DEEPEST),
            DEEPEST,
            libc::MADV_DONTNEED,
        );
    }
}

/// A path that leads to an open descriptor of this process.
pub fn descriptor_path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The parent.
    Parent {
        /// The child's pid, as the parent sees it.
        pid: i32,
        /// The child's pidfd.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Forks a process that has one thread; `namespaces` are `CLONE_NEW*` flags for
/// the child.
///
/// # Errors
/// `EINVAL` when this process has more than one thread.
pub fn fork_single_threaded(namespaces: i32) -> io::Result<Fork> {
    // SAFETY: unsharing the thread group does nothing in a process of one
    // thread, and fails in any other: unshare(2).
    let alone = unsafe { libc::unshare(libc::CLONE_THREAD) };
    if alone != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM and with no stack given this is fork(2). The
    // process has one thread, so the child's memory, locks included, is
    // consistent. The third argument is where CLONE_PIDFD stores the descriptor.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            nowhere,
            &raw mut pidfd,
            nowhere,
            nowhere,
        )
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Fork::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: the call made this descriptor, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a process that has one thread, without anything that a system call filter
/// may forbid; the child's pid, or `None` in the child.
///
/// # Errors
/// `EINVAL` when this process has more than one thread.
pub fn fork_plainly() -> io::Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the process has one thread, which is this one, so the child's memory,
    // locks included, is consistent.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A null-terminated list of texts, as `execve` takes it.
#[derive(Debug)]
pub struct TextList {
    pointers: Vec<*const libc::c_char>,
    _texts: Vec<CString>,
}

impl TextList {
    /// Makes the list.
    ///
    /// # Errors
    /// When a text contains a NUL.
    pub fn new(texts: &[String]) -> io::Result<Self> {
        let texts: Vec<CString> = texts
            .iter()
            .map(|text| CString::new(text.as_str()))
            .collect::<Result<_, _>>()?;
        let pointers = texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Ok(Self {
            pointers,
            _texts: texts,
        })
    }
}

/// Replaces this process. Returns only when the kernel refuses.
pub fn execute(program: &CStr, argv: &TextList, env: &TextList) -> io::Error {
    // SAFETY: the path is NUL-terminated; both lists end with a null pointer, and
    // the texts that they point to live as long as the lists.
    unsafe {
        libc::execve(
            program.as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
        )
    };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on. For a fork that never comes back to
/// those that own them.
fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: u32, flags: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers only. It marks descriptors without closing them,
    // or the process is a fork in which nobody uses them any more.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Size of the kernel's signal set: 64 signals.
const SIGNAL_SET_BYTES: usize = 8;

/// Gives every signal its default disposition and blocks none. Rust programs
/// ignore SIGPIPE, and an ignored signal stays ignored across `execve`.
///
/// Past the C library, which refuses to touch the two signals that it has for
/// itself, and ignores them in whatever it spawns.
pub fn reset_signals() -> io::Result<()> {
    // The kernel's own structure: handler (0 is SIG_DFL), flags, restorer, mask.
    let default = [0_usize; 8];
    let former = std::ptr::null_mut::<usize>();
    for signal in 1..=64 {
        // SAFETY: the action is longer than the kernel reads and runs no code; the
        // former one is not asked for. SIGKILL and SIGSTOP are answered with an error.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                former,
                SIGNAL_SET_BYTES,
            )
        };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written whole by the call.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was just initialised; the old one is not asked for.
    let done = unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a resource limit of this process: `RLIMIT_*`, soft, hard.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let old = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the new limit lives through the call, the old one is not asked for;
    // an unknown resource is refused.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, old) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The soft and hard limit of this process for `RLIMIT_*`.
pub fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = std::ptr::null::<libc::rlimit64>();
    // SAFETY: no new limit is given, and the old one is written to a structure
    // that lives through the call.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &raw mut limit) };
    if done == 0 {
        Ok((limit.rlim_cur, limit.rlim_max))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Joins a new, empty session keyring, so that the keys of whoever started this
/// process are out of reach. Kernels without keys have none to hide, and where
/// the call is forbidden it is so for the program as well.
pub fn leave_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = std::ptr::null::<libc::c_char>();
    // SAFETY: no name is given, which asks for an anonymous keyring.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name) };
    if serial >= 0 {
        return Ok(());
    }
    let err = io::Error::last_os_error();
    match err.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => Ok(()),
        _ => Err(err),
    }
}

/// What a process and the children that it collected have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in user space and in the kernel.
    pub cpu: Duration,
    /// Most memory that one of them had at once, in bytes.
    pub memory_peak: u64,
}

/// The usage of a child that has ended and is not collected yet; it is not
/// collected by this either.
pub fn usage_of_ended(pidfd: BorrowedFd<'_>) -> io::Result<Usage> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes at most a siginfo and a rusage to the two places,
    // which have their sizes and live through the call. The C library's function
    // lacks the fifth argument.
    let done = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOWAIT | libc::WNOHANG,
            usage.as_mut_ptr(),
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all its members are numbers, for which zeroed memory is a value.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let microseconds = u64::try_from(time.tv_usec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(microseconds)
    };
    Ok(Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        // In KiB: getrusage(2).
        memory_peak: u64::try_from(usage.ru_maxrss).unwrap_or_default() << 10,
    })
}

/// A child of this process that has ended and is not collected yet, if there is one;
/// it is not collected by this either.
pub fn ended_child() -> io::Result<Option<i32>> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: the structure has the right type and lives through the call.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all its members are numbers, for which zeroed memory is a value.
    let info = unsafe { info.assume_init() };
    // SAFETY: the call fills this member in, or leaves it 0.
    let pid = unsafe { info.si_pid() };
    Ok((pid > 0).then_some(pid))
}

/// Brings the loopback device of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // `struct ifreq`: the name in 16 bytes, then flags in a union; 40 bytes.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("the flags are small");
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: `request` has the size of an ifreq and lives through the call, which
    // reads its name and flags.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request.as_ptr()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The environment of this process as lines `NAME=value`, for a process that is to
/// hand it on.
#[allow(
    clippy::disallowed_methods,
    reason = "a process that becomes another one's parent hands its environment on"
)]
pub fn environment() -> Vec<String> {
    std::env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect()
}

/// Makes the calling process' group the one that the terminal at standard input
/// listens to. Without a terminal there is nothing to do.
pub fn take_foreground() -> io::Result<()> {
    let stdin = rustix::stdio::stdin();
    if !rustix::termios::isatty(stdin) {
        return Ok(());
    }
    // A group in the background that asks is stopped, unless it ignores that.
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
    rustix::termios::tcsetpgrp(stdin, rustix::process::getpgrp())?;
    Ok(())
}

/// Writes a last word to standard error.
pub fn complain(text: &str) {
    let _unheard = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

/// Ends this process at once: no destructors, no flushing. For the child of a
/// fork, whose copies of buffers and guards are not its own.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always safe to call; it does not return.
    unsafe { libc::_exit(code) }
}
