//! Shared memory: the sandbox's own, the host's, or that of another sandbox.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::super::failure::{During, Step};
use super::super::{Namespace, Spec};
use super::rootfs::CLONE;

/// What is to be seen in `/dev/shm`.
#[derive(Debug)]
pub(super) enum Memory {
    /// Nothing: there is no such directory.
    None,
    /// A file system of so many bytes.
    Own(u64),
    /// This tree.
    Of(OwnedFd),
}

/// Joins the IPC namespace that the specification names, and finds its memory;
/// while the host's mounts can be seen.
pub(super) fn memory(spec: &Spec) -> Step<Memory> {
    const SHM: &str = "/dev/shm";
    match spec.particulars.ipc {
        Namespace::Own if spec.particulars.no_shm => Ok(Memory::None),
        Namespace::Host if Path::new(SHM).exists() => {
            let tree = open_tree(CWD, SHM, CLONE | OpenTreeFlags::AT_RECURSIVE);
            tree.map(Memory::Of).during("open the host's `/dev/shm`")
        }
        Namespace::Own | Namespace::Host => Ok(Memory::Own(spec.shm_bytes)),
        Namespace::Of(pid) => {
            const STEP: &str = "join the other sandbox's shared memory";
            let pid = Pid::from_raw(pid)
                .ok_or(rustix::io::Errno::SRCH)
                .during(STEP)?;
            let target = pidfd_open(pid, PidfdFlags::empty()).during(STEP)?;
            let own = rustix::fs::open(
                "/proc/self/ns/mnt",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            let own = own.during(STEP)?;
            let kinds =
                ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION | ThreadNameSpaceType::MOUNT;
            rustix::thread::move_into_thread_name_spaces(target.as_fd(), kinds).during(STEP)?;
            let tree = open_tree(CWD, SHM, CLONE | OpenTreeFlags::AT_RECURSIVE);
            rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))
                .during(STEP)?;
            match tree {
                Ok(tree) => Ok(Memory::Of(tree)),
                Err(rustix::io::Errno::NOENT) => Ok(Memory::None),
                Err(err) => Err(err).during(STEP),
            }
        }
    }
}
