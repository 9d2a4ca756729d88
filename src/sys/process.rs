//! Starting ourselves again, forking while there is one thread, and what comes
//! right before a program is executed.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Starts this program again under the name `argv0`, with `stdin` as its
/// standard input, an empty environment and nothing else of ours.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the place that starts processes"
)]
pub fn spawn_self(argv0: &str, stdin: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0(argv0)
        .env_clear()
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The parent, with the child's pid.
    Parent(i32),
    /// The child.
    Child,
}

/// Forks a process that has one thread; `new_pid_namespace` makes the child its
/// first process.
///
/// # Errors
/// `EBUSY` when this process has more than one thread.
pub fn fork_single_threaded(new_pid_namespace: bool) -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(rustix::io::Errno::BUSY.into());
    }
    let mut flags = u64::from(libc::SIGCHLD.unsigned_abs());
    if new_pid_namespace {
        flags |= u64::from(libc::CLONE_NEWPID.unsigned_abs());
    }
    // SAFETY: without CLONE_VM and with a null stack this is fork(2); the process
    // has one thread (checked above), so the child's memory, locks included, is consistent.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, 0_u64) };
    match pid {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Ok(Fork::Parent(i32::try_from(pid).expect("a pid fits"))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Replaces this process. Returns only when the kernel refuses.
pub fn execute(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let each = list.iter().map(|text| text.as_ptr());
        each.chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all three are NUL-terminated texts or null-terminated lists of them,
    // owned by the caller for the length of the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers only, and marks descriptors without closing them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal its default disposition and blocks none. Rust programs
/// ignore SIGPIPE, and an ignored signal stays ignored across `execve`.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP || signal == 32 || signal == 33 {
            continue;
        }
        // SAFETY: SIG_DFL is a valid disposition for every signal but the ones left out.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
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

/// One instruction of a classic BPF program, as the kernel takes it.
pub type FilterInstruction = [u8; 8];

/// Installs a system call filter on this process.
pub fn install_filter(program: &[FilterInstruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: length,
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` instructions that live through the call;
    // the kernel copies and checks them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, 1_u64, 0_u64, &raw const program) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback device of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("the flags are small");
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: `request` is an ifreq of 40 bytes with name and flags, read by the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request.as_ptr()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Ends this process at once: no destructors, no flushing. For the child of a
/// fork, whose copies of buffers and guards are not its own.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always safe to call; it does not return.
    unsafe { libc::_exit(code) }
}
