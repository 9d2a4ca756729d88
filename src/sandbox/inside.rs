//! Looking into the file system of a sandbox from outside, whether it runs or not.
//!
//! A thread of its own enters a mount namespace: that of the running sandbox, or a
//! new one in which the same is mounted. Its root is the sandbox's root then, so
//! no link leads anywhere else. Whatever it mounted goes with it.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use super::failure::{During, Failure, Step};
use super::init::{mounts, overlay, rootfs};
use super::{Error, Mount, RootFs};

/// Which file system is looked into.
#[derive(Debug)]
pub enum Inside<'a> {
    /// That of a running sandbox, by the pid of its first process.
    Running(i32),
    /// That of a sandbox that does not run: its root, and what is mounted there.
    Resting(&'a RootFs, &'a [Mount]),
}

/// How much of it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Everything, with all mounts.
    Everything,
    /// The root file system alone, without what is mounted in it.
    RootOnly,
}

impl Inside<'_> {
    /// Calls `work` with the open root directory, in a thread whose own root that is.
    ///
    /// # Errors
    /// When the file system cannot be entered; what `work` returns is returned.
    pub fn visit<T: Send>(
        &self,
        place: Place,
        work: impl FnOnce(OwnedFd) -> T + Send,
    ) -> Result<T, Error> {
        let visited = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("inside".to_owned());
            let visitor = thread.spawn_scoped(scope, || self.enter(place).map(work));
            visitor.map(std::thread::ScopedJoinHandle::join)
        });
        match visited {
            Ok(Ok(result)) => result.map_err(|failure: Failure| failure.into_error("")),
            Ok(Err(_)) => Err(Error::Lost),
            Err(source) => Err(Error::SetUp {
                step: "start a thread".to_owned(),
                source,
            }),
        }
    }

    /// Enters the file system for good; returns its root.
    fn enter(&self, place: Place) -> Step<OwnedFd> {
        const ROOT: &str = "open the root";
        // This thread's own root and working directory, no longer the process'.
        unshare(UnshareFlags::FS).during("leave the process' root")?;
        match self {
            Inside::Running(pid) => {
                const STEP: &str = "enter the sandbox's mounts";
                let pid = Pid::from_raw(*pid)
                    .ok_or(rustix::io::Errno::SRCH)
                    .during(STEP)?;
                let target = pidfd_open(pid, PidfdFlags::empty()).during(STEP)?;
                let mounts = ThreadNameSpaceType::MOUNT;
                rustix::thread::move_into_thread_name_spaces(
                    std::os::fd::AsFd::as_fd(&target),
                    mounts,
                )
                .during(STEP)?;
            }
            Inside::Resting(root, mounts) => mount(root, mounts)?,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match place {
            Place::Everything => rustix::fs::open("/", flags, Mode::empty()).during(ROOT),
            Place::RootOnly => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                open_tree(CWD, "/", flags).during(ROOT)
            }
        }
    }
}

/// Mounts it all in a namespace of this thread's own and makes it its root.
fn mount(root: &RootFs, mounts: &[Mount]) -> Step<()> {
    unshare(UnshareFlags::NEWNS).during("make a mount namespace")?;
    let sources = mounts::open_sources(mounts, false)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).during("make the mounts private")?;
    let place: &Path = &root.mountpoint;
    let sources = mounts::make_rest(mounts, sources, place, false)?;
    let tree = overlay::mount(&root.overlay, place, false)?;
    rootfs::pivot(&tree)?;
    sources.into_iter().try_for_each(mounts::Source::attach)
}

#[allow(
    deprecated,
    reason = "the safe form; what the other warns about, descriptor tables, is not unshared"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}
