//! Network namespaces: making one, and doing something inside one.
//!
//! A namespace belongs to a thread, so both work on a fresh thread that ends
//! before they return; the caller stays where it is.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Small, since these threads make a few system calls only.
const STACK_BYTES: usize = 128 * 1024;

/// Makes a network namespace and runs `inside` in it.
///
/// The namespace lives as long as the descriptor, a process in it, or a socket
/// that `inside` opened and returned.
pub fn create<T: Send>(inside: impl FnOnce() -> T + Send) -> io::Result<(OwnedFd, T)> {
    on_thread(|| {
        // SAFETY: only the network namespace is unshared; the table of
        // descriptors stays shared, which is what the function warns about.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        let namespace = rustix::fs::open(
            "/proc/thread-self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok((namespace, inside()))
    })
}

/// Runs `inside` on a thread that has joined the network namespace.
pub fn enter<T: Send>(
    namespace: BorrowedFd<'_>,
    inside: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    on_thread(|| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
        Ok(inside())
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
