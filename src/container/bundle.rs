//! A container's request and what was looked up for it, to the specification of
//! its sandbox. Pure.

use std::path::{Path, PathBuf};

use super::cdi::Edits;
use super::request::set_variable;
use super::{Error, Request, capabilities};
use crate::oci::passwd::Account;
use crate::sandbox::{
    Mount, MountKind, Namespace, NetworkNamespace, Overlay, Particulars, Reach, ResourceLimits,
    RootFs, Seccomp, Spec, Terminal,
};
use crate::sys::cgroup::Driver;

/// The search path of a container whose image names none.
///
/// Source: moby `oci/defaults`, Unix.
pub(super) const DEFAULT_PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What was looked up for a start.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The container's ID.
    pub(super) id: String,
    /// Who the program runs as.
    pub(super) account: Account,
    /// Read-only layers, top first, stubs last.
    pub(super) lower: Vec<PathBuf>,
    /// The container's own layer.
    pub(super) upper: PathBuf,
    /// overlayfs' scratch directory.
    pub(super) work: PathBuf,
    /// An empty directory to mount on.
    pub(super) mountpoint: PathBuf,
    /// Mounts of the container's own files and volumes and of what the user asked for.
    pub(super) mounts: Vec<Mount>,
    /// Host name inside.
    pub(super) hostname: String,
    /// Which network namespace.
    pub(super) network: NetworkNamespace,
    /// Size of the first client's terminal, rows and columns; 0 when unknown.
    pub(super) terminal: (u16, u16),
    /// Variables of linked containers; the request's own win.
    pub(super) variables: Vec<String>,
    /// The first process of a container whose processes are seen.
    pub(super) pid_of: Option<i32>,
    /// The first process of a container whose IPC objects are seen.
    pub(super) ipc_of: Option<i32>,
    /// What its devices need.
    pub(super) edits: Edits,
}

/// Makes the specification.
pub(super) fn bundle(request: &Request, found: Found) -> Result<Spec, Error> {
    let argv = request.argv();
    if argv.is_empty() {
        return Err(Error::NoCommand);
    }
    let (rows, columns) = found.terminal;
    let mut env = environment(request, &found.hostname, &found.account.home);
    for variable in found.variables {
        let name = variable.split('=').next().unwrap_or_default();
        let known = |own: &String| own.split('=').next() == Some(name);
        if !env.iter().any(known) {
            env.push(variable);
        }
    }
    let withholds = found.edits.withholds();
    for variable in found.edits.env {
        set_variable(&mut env, variable);
    }
    let mut groups = found.account.groups;
    for group in found.edits.groups {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut resources = request.limits();
    if withholds && !request.privileged {
        resources
            .devices
            .get_or_insert_with(|| request.device_rules_of_all());
    }
    if let Some(rules) = &mut resources.devices {
        rules.extend(found.edits.rules);
    }
    let particulars = Particulars {
        later_cgroup: Some(group_name(request, &found.id)),
        ..particulars(request, found.pid_of, found.ipc_of)
    };
    Ok(Spec {
        rootfs: RootFs {
            mountpoint: found.mountpoint,
            overlay: Overlay {
                lower: found.lower,
                upper: found.upper,
                work: found.work,
                // What is removed at its end need not reach the disk.
                volatile: request.auto_remove,
            },
        },
        mounts: in_order(found.mounts),
        argv,
        env,
        cwd: working_directory(request),
        create_cwd: true,
        uid: found.account.uid,
        gid: found.account.gid,
        groups,
        hostname: (request.uts_mode != "host").then_some(found.hostname),
        network: found.network,
        capabilities: capabilities::kept(&request.cap_add, &request.cap_drop, request.privileged)?,
        no_new_privileges: request.has_security_option("no-new-privileges"),
        seccomp: seccomp(request, request.privileged),
        mask_paths: !request.privileged && !request.has_security_option("systempaths=unconfined"),
        read_only: request.read_only,
        rlimits: request.ulimits.iter().map(|ulimit| ulimit.limit).collect(),
        shm_bytes: request.shm_bytes,
        sysctls: request.sysctls.clone().into_iter().collect(),
        terminal: request.tty.then_some(Terminal { rows, columns }),
        cgroup: cgroup(request, &found.id),
        resources,
        die_with_parent: true,
        particulars,
    })
}

fn particulars(request: &Request, pid_of: Option<i32>, ipc_of: Option<i32>) -> Particulars {
    let namespace = |mode: &str, of: Option<i32>| match (mode, of) {
        ("host", _) => Namespace::Host,
        (_, Some(pid)) => Namespace::Of(pid),
        _ => Namespace::Own,
    };
    let option = |name: &str| {
        let named = request.security_opt.iter().find_map(|option| {
            let rest = option.strip_prefix(name)?;
            rest.strip_prefix('=').or_else(|| rest.strip_prefix(':'))
        });
        named.map(str::to_owned)
    };
    let apparmor = option("apparmor").filter(|profile| profile != "unconfined");
    Particulars {
        processes: namespace(&request.pid_mode, pid_of),
        ipc: namespace(&request.ipc_mode, ipc_of),
        no_shm: request.ipc_mode == "none",
        host_cgroups: request.cgroupns_mode == "host",
        domain_name: request.domain_name.clone(),
        init: request.init,
        oom_score_adj: request.oom_score_adj,
        host_devices: request.privileged,
        device_nodes: !request.device_rules.is_empty(),
        apparmor: apparmor.filter(|_| Path::new("/sys/module/apparmor").exists()),
        label: label(request).filter(|_| Path::new("/sys/fs/selinux/enforce").exists()),
        later_cgroup: None,
    }
}

/// The SELinux label that `label=user:...` and its kin make; none without any.
fn label(request: &Request) -> Option<String> {
    let mut parts = ["system_u", "system_r", "container_t", "s0"].map(str::to_owned);
    let mut asked = false;
    for option in &request.security_opt {
        let Some(rest) = option
            .strip_prefix("label")
            .and_then(|rest| rest.strip_prefix(['=', ':']))
        else {
            continue;
        };
        if rest == "disable" {
            return None;
        }
        let Some((key, value)) = rest.split_once(':') else {
            continue;
        };
        let at = match key {
            "user" => 0,
            "role" => 1,
            "type" => 2,
            "level" => 3,
            _ => continue,
        };
        value.clone_into(&mut parts[at]);
        asked = true;
    }
    asked.then(|| parts.join(":"))
}

/// The cgroup of a container, beneath each controller's root; only where there
/// is something to limit. Joining one makes the kernel wait for every processor
/// to pass a quiet point: more than ten milliseconds, most of what a start takes.
///
/// A container that shares its processes with others needs one too: by it they
/// are told apart.
pub(super) fn cgroup(request: &Request, id: &str) -> Option<String> {
    let wanted = request.limits() != ResourceLimits::default()
        || request.shares_processes()
        || request.runs_outside()
        || !request.device_wishes.is_empty()
        || request.cgroup_parent.is_some();
    wanted.then(|| group_name(request, id))
}

/// The name of a container's cgroup.
pub(super) fn group_name(request: &Request, id: &str) -> String {
    Driver::detect().group_name(request.cgroup_parent.as_deref(), id)
}

/// Docker's order: its own variables, then the image's and the user's, which
/// win; `HOME` only where nobody said it.
pub(super) fn environment(request: &Request, hostname: &str, home: &str) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if request.tty {
        env.push("TERM=xterm".to_owned());
    }
    for variable in &request.env {
        set_variable(&mut env, variable.clone());
    }
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Where the program starts.
pub(super) fn working_directory(request: &Request) -> PathBuf {
    match request.working_dir.as_str() {
        "" => PathBuf::from("/"),
        path => PathBuf::from(path),
    }
}

/// The system call filter of a program of the container.
pub(super) fn seccomp(request: &Request, privileged: bool) -> Seccomp {
    let named = request.security_opt.iter().rev().find_map(|option| {
        let rest = option.strip_prefix("seccomp")?;
        rest.strip_prefix('=').or_else(|| rest.strip_prefix(':'))
    });
    match named {
        Some("unconfined") => Seccomp::Unconfined,
        Some("builtin") => Seccomp::Default,
        Some(profile) => Seccomp::Profile(profile.to_owned()),
        None if privileged => Seccomp::Unconfined,
        None => Seccomp::Default,
    }
}

/// A mount comes after those that it lies beneath; of two on one target the
/// later one, the user's, wins.
pub(super) fn in_order(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut ordered: Vec<Mount> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        ordered.retain(|earlier| earlier.target != mount.target);
        ordered.push(mount);
    }
    ordered.sort_by_key(|mount| mount.target.components().count());
    ordered
}

/// A bind mount of one of the container's own files or volumes.
pub(super) fn own(source: PathBuf, target: &str, read_only: bool) -> Mount {
    bind(source, target, read_only, None)
}

/// A bind mount.
pub(super) fn bind(
    source: PathBuf,
    target: &str,
    read_only: bool,
    propagation: Option<String>,
) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source,
            propagation,
            reach: Reach::All,
        },
        target: Path::new(target).to_owned(),
        read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::ContainerConfig;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn image(entrypoint: &[&str], cmd: &[&str], env: &[&str]) -> ContainerConfig {
        let words = |list: &[&str]| (!list.is_empty()).then(|| strings(list));
        ContainerConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            env: strings(env),
            ..ContainerConfig::default()
        }
    }

    fn argv(image: &ContainerConfig, entrypoint: Option<&str>, command: &[&str]) -> Vec<String> {
        let request = Request {
            entrypoint: entrypoint.map(|word| vec![word.to_owned()]),
            command: (!command.is_empty()).then(|| strings(command)),
            ..Request::default()
        };
        request.with_image(image).argv()
    }

    #[test]
    fn entrypoint_and_command() {
        let both = image(&["/app"], &["5"], &[]);
        assert_eq!(argv(&both, None, &[]), ["/app", "5"]);
        assert_eq!(argv(&both, None, &["10"]), ["/app", "10"]);
        assert_eq!(argv(&both, Some("echo"), &["10"]), ["echo", "10"]);
        assert_eq!(argv(&both, Some("echo"), &[]), ["echo"]);
        assert_eq!(argv(&both, Some(""), &["ls"]), ["ls"]);
        assert_eq!(argv(&both, Some(""), &[]), [""; 0]);
        assert_eq!(argv(&image(&[], &["sh"], &[]), None, &[]), ["sh"]);
    }

    fn env(image_env: &[&str], own: &[&str], tty: bool) -> Vec<String> {
        let request = Request {
            env: strings(own),
            tty,
            ..Request::default()
        };
        let request = request.with_image(&image(&[], &["sh"], image_env));
        environment(&request, "box", "/root")
    }

    #[test]
    fn later_variables_win() {
        assert_eq!(
            env(&[], &[], false),
            [DEFAULT_PATH, "HOSTNAME=box", "HOME=/root"]
        );
        assert_eq!(
            env(&["PATH=/x", "A=img", "B=keep"], &["A=run", "HOME=/h"], true),
            [
                "PATH=/x",
                "HOSTNAME=box",
                "TERM=xterm",
                "A=run",
                "HOME=/h",
                "B=keep"
            ]
        );
        assert_eq!(
            env(&["A=1"], &["A=", "C=="], false)[2..],
            ["A=", "C==", "HOME=/root"]
        );
    }

    #[test]
    fn outer_mounts_come_first_and_the_users_win() {
        let at = |target: &str, source: &str| own(PathBuf::from(source), target, false);
        let ordered = in_order(vec![
            at("/etc/hosts", "ours"),
            at("/a/b", "1"),
            at("/a", "2"),
            at("/etc/hosts", "theirs"),
        ]);
        let targets: Vec<_> = ordered.iter().map(|mount| mount.target.clone()).collect();
        assert_eq!(
            targets,
            [Path::new("/a"), Path::new("/a/b"), Path::new("/etc/hosts")]
        );
        let MountKind::Bind { source, .. } = &ordered[2].kind else {
            panic!("a bind mount");
        };
        assert_eq!(source, Path::new("theirs"));
    }
}
