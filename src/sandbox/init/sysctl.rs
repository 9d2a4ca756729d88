//! Sysctls of the sandbox's own namespaces.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::super::failure::{During, Step};
use super::super::{Namespace, NetworkNamespace, Spec};

/// Those of an IPC namespace. Source: ipc_namespaces(7).
pub const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Sets the sysctls of the specification, in the `/proc` just mounted.
pub(super) fn set(spec: &Spec) -> Step<()> {
    for (name, value) in &spec.sysctls {
        let step = || format!("set the sysctl `{name}`");
        // Any other would change the host.
        if !is_namespaced(name, spec) {
            return Err(Errno::PERM).during_with(|| {
                format!("set the sysctl `{name}`, which belongs to no namespace of the sandbox")
            });
        }
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let file = rustix::fs::openat2(
            CWD,
            path.as_str(),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .during_with(step)?;
        rustix::io::write(&file, value.as_bytes()).during_with(step)?;
    }
    Ok(())
}

fn is_namespaced(name: &str, spec: &Spec) -> bool {
    let plain = name
        .split('.')
        .all(|part| !part.is_empty() && !part.contains('/'));
    let network = || name.starts_with("net.") && spec.network != NetworkNamespace::Host;
    let uts = || name == "kernel.domainname" && spec.hostname.is_some();
    let of_ipc = IPC_SYSCTLS.contains(&name) || name.starts_with("fs.mqueue.");
    let ipc = of_ipc && spec.particulars.ipc != Namespace::Host;
    plain && (ipc || network() || uts())
}
