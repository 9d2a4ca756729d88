//! `mounts`: the standard ones, then those of the specification.

use serde_json::{Value, json};

use super::super::{Mount, MountKind, Namespace, REAPER_ARGV0, Spec};
use super::{Facts, Stage};

pub(super) fn mounts(spec: &Spec, stage: Stage<'_>, memory_is_ready: bool, facts: &Facts) -> Value {
    let administers = spec.capabilities.contains(&super::linux::SYS_ADMIN);
    let writable = !spec.mask_paths && administers;
    let access = if writable { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", "proc", &options("nosuid,noexec,nodev")),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &options("nosuid,strictatime,mode=755,size=65536k"),
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &options("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &options(&format!("nosuid,noexec,nodev,{access}")),
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &options(&format!("nosuid,noexec,nodev,relatime,{access}")),
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &options("nosuid,noexec,nodev"),
        ),
    ];
    list.extend(memory(spec, stage, memory_is_ready));
    if spec.particulars.init {
        let source = stage.init();
        list.push(mount(
            REAPER_ARGV0,
            "bind",
            &source.to_string_lossy(),
            &options("bind,ro"),
        ));
    }
    for (number, one) in spec.mounts.iter().enumerate() {
        let source = stage.mount(number);
        let trusted = administers || spec.particulars.device_nodes;
        let devices = trusted || !facts.directories.contains(&number);
        list.push(mount(
            &one.target.to_string_lossy(),
            "bind",
            &source.to_string_lossy(),
            &staged(one, devices),
        ));
    }
    Value::Array(list)
}

/// The options of a mount that lies ready. It has its attributes already, all the
/// way down, but some runtimes set those of the topmost again to what is said here.
fn staged(mount: &Mount, devices: bool) -> Vec<String> {
    let mut list = options("rbind");
    let mut propagation = "rprivate";
    match &mount.kind {
        MountKind::Bind {
            propagation: own, ..
        } => {
            propagation = own.as_deref().unwrap_or(propagation);
            list.extend((!devices).then(|| "nodev".to_owned()));
        }
        MountKind::Tmpfs { options: own } | MountKind::FileSystem { options: own, .. } => {
            list.extend(options("nosuid,nodev"));
            let known = ["noexec", "noatime", "nodiratime", "ro"];
            let said = own.split(',').filter(|one| known.contains(one));
            list.extend(said.map(str::to_owned));
        }
        MountKind::File { .. } => list.extend(options("nosuid,nodev,noexec")),
        MountKind::Device(_) => list.extend(options("nosuid,noexec")),
        MountKind::Beneath { .. } | MountKind::Tree { .. } => {
            list.extend((!devices).then(|| "nodev".to_owned()));
        }
    }
    list.extend(mount.read_only.then(|| "ro".to_owned()));
    list.push(propagation.to_owned());
    list
}

fn memory(spec: &Spec, stage: Stage<'_>, is_ready: bool) -> Option<Value> {
    if is_ready {
        let source = stage.memory();
        let source = source.to_string_lossy();
        return Some(mount(
            "/dev/shm",
            "bind",
            &source,
            &options("rbind,rprivate"),
        ));
    }
    if spec.particulars.no_shm && spec.particulars.ipc == Namespace::Own {
        return None;
    }
    let own = format!("nosuid,noexec,nodev,mode=1777,size={}", spec.shm_bytes);
    Some(mount("/dev/shm", "tmpfs", "shm", &options(&own)))
}

fn mount(target: &str, kind: &str, source: &str, options: &[String]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn options(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}
