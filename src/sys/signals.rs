//! Signals as something to read, for programs that pass them on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The highest signal number of the kernel.
const LAST: i32 = 64;

/// Signals that are read instead of acted on. Dropping it gives the process its
/// former mask back; what was not read then acts.
///
/// Only the calling thread's mask changes, so it is made before other threads are.
pub struct Signals {
    fd: OwnedFd,
    former: libc::sigset_t,
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

impl Signals {
    /// Holds these signals back and makes them readable.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let set = set(signals);
        let former = change_mask(libc::SIG_BLOCK, &set)?;
        let fd = descriptor(&set)?;
        Ok(Self { fd, former })
    }

    /// The next signal, without waiting.
    pub fn next(&self) -> Option<i32> {
        next(&self.fd)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A mask that was in force before can be in force again.
        let _former = change_mask(libc::SIG_SETMASK, &self.former);
    }
}

/// Forgets every signal that waits, gives each its default action, and lets all
/// of them through: what a process does that was started among signals meant
/// for its parent. SIGPIPE stays ignored, as in every Rust program.
pub fn forget_pending_and_unblock() -> io::Result<()> {
    let all: Vec<i32> = (1..=LAST).collect();
    let set_of_all = set(&all);
    change_mask(libc::SIG_BLOCK, &set_of_all)?;
    let fd = descriptor(&set_of_all)?;
    while next(&fd).is_some() {}
    for signal in all {
        if signal != libc::SIGPIPE {
            // SAFETY: `signal` takes any number, answers those that cannot be
            // changed with an error, and SIG_DFL runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    change_mask(libc::SIG_SETMASK, &set(&[]))?;
    Ok(())
}

fn next(fd: &OwnedFd) -> Option<i32> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let length = rustix::io::read(fd, &mut info).ok()?;
    // `ssi_signo` comes first in the structure: signalfd(2).
    let number = info.first_chunk::<4>().filter(|_| length == info.len())?;
    i32::try_from(u32::from_ne_bytes(*number)).ok()
}

fn set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is to a set of the right type, which the call fills.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `sigemptyset` has initialised it.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is initialised; a number out of range is refused.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Changes this thread's mask; returns the former one.
fn change_mask(how: i32, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut former = self::set(&[]);
    // SAFETY: both point to initialised sets that outlive the call.
    let error = unsafe { libc::pthread_sigmask(how, set, &raw mut former) };
    match error {
        0 => Ok(former),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn descriptor(set: &libc::sigset_t) -> io::Result<OwnedFd> {
    // SAFETY: -1 asks for a new descriptor; the set is initialised and only read.
    let fd = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_is_read_once() {
        let signals = Signals::catch(&[libc::SIGWINCH]).unwrap();
        assert_eq!(signals.next(), None);
        // SAFETY: sends a signal to the calling thread, which holds it back.
        unsafe { libc::raise(libc::SIGWINCH) };
        assert_eq!(signals.next(), Some(libc::SIGWINCH));
        assert_eq!(signals.next(), None);
    }
}
