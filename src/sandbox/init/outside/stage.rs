//! What the runtime mounts, laid ready beneath one directory in a mount namespace
//! that ends with this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, move_mount, open_tree};

use super::super::super::Spec;
use super::super::super::failure::{During, Step};
use super::super::super::oci::Stage;
use super::super::rootfs::CLONE;
use super::super::shared::{self, Memory};
use super::super::{mounts, overlay};
use crate::sys::mount::{Attributes, set_attributes};
use crate::sys::process::descriptor_path;

/// `CAP_SYS_ADMIN` of linux/capability.h.
const SYS_ADMIN: u8 = 21;

/// Lays it ready: the root file system, every mount, shared memory and the network
/// namespace.
pub(super) fn make(spec: &Spec, network: Option<BorrowedFd<'_>>) -> Step<()> {
    let place = spec.rootfs.mountpoint.as_path();
    let stage = Stage(place);
    let memory = shared::memory(spec)?;
    let trusted = spec.capabilities.contains(&SYS_ADMIN) || spec.particulars.device_nodes;
    // What is on the host is opened while it still is the host's, so that mounts
    // that are to be shared with it are.
    let sources = mounts::open_sources(&spec.mounts, trusted)?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).during("make the mounts the runtime's own")?;
    let flags = MountFlags::NOSUID;
    rustix::mount::mount("rbuild", place, "tmpfs", flags, Some(c"mode=700"))
        .during_with(|| format!("mount memory on `{}`", place.display()))?;
    let root = stage.root();
    std::fs::create_dir(&root).during("make the root's directory")?;
    let sources = mounts::make_rest(&spec.mounts, sources, &root, trusted)?;
    overlay::mount(&spec.rootfs.overlay, &root, trusted)?;
    for (number, source) in sources.into_iter().enumerate() {
        source.stage(&stage.mount(number))?;
    }
    match &memory {
        Memory::None | Memory::Own(_) if spec.particulars.ipc == super::Namespace::Own => {}
        // A namespace that has none is not given any.
        Memory::None | Memory::Own(_) => {
            std::fs::create_dir(stage.memory()).during("lay shared memory ready")?;
        }
        Memory::Of(tree) => {
            let at = stage.memory();
            std::fs::create_dir(&at).during("lay shared memory ready")?;
            attach(tree.as_fd(), &at).during("lay shared memory ready")?;
        }
    }
    if let Some(network) = network {
        let at = stage.network();
        File::create_new(&at).during("lay the network ready")?;
        let source = descriptor_path(network.as_raw_fd());
        rustix::mount::mount_bind(source, at).during("lay the network ready")?;
    }
    if spec.particulars.init {
        init(&stage.init()).during("lay the init ready")?;
    }
    Ok(())
}

/// This program, read-only: a mount of its file where the kernel can make one,
/// else a copy. The file may be in no mount that this process could see.
fn init(at: &Path) -> io::Result<()> {
    let mut file = File::create_new(at)?;
    if let Ok(tree) = open_tree(CWD, "/proc/self/exe", CLONE) {
        let read_only = Attributes {
            set: libc::MOUNT_ATTR_RDONLY,
            ..Attributes::default()
        };
        set_attributes(tree.as_fd(), &read_only)?;
        return Ok(attach(tree.as_fd(), at)?);
    }
    io::copy(&mut File::open("/proc/self/exe")?, &mut file)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}

fn attach(tree: BorrowedFd<'_>, at: &Path) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", CWD, at, flags)
}
