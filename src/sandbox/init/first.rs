//! The first process of a sandbox, from the fork to the program.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::super::failure::{During, Failure, Step};
use super::super::{NetworkNamespace, Spec};
use super::execute::{self, Program};
use super::privileges::Privileges;
use super::shared::Memory;
use super::stdio::Streams;
use super::{Work, place, rootfs};
use crate::sys::cgroup::Group;
use crate::sys::process;

/// Becomes the program. Comes back only with the reason why not.
pub(super) fn become_program(
    spec: &Spec,
    group: Option<&Group>,
    memory: &Memory,
    work: &Work,
) -> Failure {
    match prepare(spec, group, memory, work) {
        Ok(program) => program.execute(),
        Err(failure) => failure,
    }
}

fn prepare(spec: &Spec, group: Option<&Group>, memory: &Memory, work: &Work) -> Step<Program> {
    harden(spec.die_with_parent)?;
    if let Some(score) = spec.particulars.oom_score_adj {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .during("set the out-of-memory score")?;
    }
    if let Some(group) = group {
        group.join().during("join the cgroup")?;
        if !spec.particulars.host_cgroups {
            // Made from within, so that the sandbox sees its own group as the root.
            unshare(UnshareFlags::NEWCGROUP).during("make the cgroup namespace")?;
        }
    }
    let (network, streams) = descriptors(work)?;
    join_network(spec, network)?;
    if let Some(name) = &spec.hostname {
        rustix::system::sethostname(name.as_bytes()).during("set the host name")?;
    }
    if let Some(name) = &spec.particulars.domain_name {
        rustix::system::setdomainname(name.as_bytes()).during("set the domain name")?;
    }
    rustix::process::setsid().during("start a session")?;
    let program = if spec.particulars.init {
        Program::reaper(&spec.argv, &spec.env)?
    } else {
        Program::new(&spec.argv, &spec.env)?
    };
    let devices = spec.particulars.device_nodes && group.is_some_and(Group::restricts_devices);
    let streams = rootfs::enter(spec, streams, memory, devices, work)?;
    let cwd = if spec.create_cwd {
        place::directory(&spec.cwd)
    } else {
        place::existing_directory(&spec.cwd)
    };
    let cwd = cwd.during_with(|| format!("open the working directory `{}`", spec.cwd.display()))?;
    if spec.read_only {
        rootfs::make_read_only()?;
    }
    rustix::process::fchdir(&cwd)
        .during_with(|| format!("enter the working directory `{}`", spec.cwd.display()))?;
    streams.connect(spec.uid)?;
    let privileges = Privileges {
        uid: spec.uid,
        gid: spec.gid,
        groups: &spec.groups,
        capabilities: &spec.capabilities,
        no_new: spec.no_new_privileges,
        rlimits: &spec.rlimits,
        die_with_parent: spec.die_with_parent,
        apparmor: spec.particulars.apparmor.as_deref(),
        label: spec.particulars.label.as_deref(),
    };
    execute::finish(&privileges, work)?;
    Ok(program)
}

/// Dies with the init if it should, and cannot be looked into from now on until
/// the program is executed: processes of the sandbox may have the same user. The
/// caller's keys stay behind.
pub(super) fn harden(die_with_parent: bool) -> Step<()> {
    if die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during("follow the parent")?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .during("hide the process")?;
    process::leave_session_keyring().during("leave the caller's keyring")
}

/// The network namespace and the streams among the descriptors that came along.
pub(super) fn descriptors(work: &Work) -> Step<(Option<BorrowedFd<'_>>, Streams<'_>)> {
    let mut descriptors = work.descriptors.iter().map(AsFd::as_fd);
    let network = if work.order.network {
        descriptors.next()
    } else {
        None
    };
    let rest: Vec<BorrowedFd<'_>> = descriptors.collect();
    match (work.order.terminal, rest.as_slice()) {
        (true, []) => Ok((network, Streams::Terminal)),
        (false, [stdin, stdout, stderr]) => {
            Ok((network, Streams::Passed([*stdin, *stdout, *stderr])))
        }
        _ => Err(rustix::io::Errno::INVAL).during("take the descriptors"),
    }
}

fn join_network(spec: &Spec, network: Option<BorrowedFd<'_>>) -> Step<()> {
    match (spec.network, network) {
        (NetworkNamespace::Host, _) => Ok(()),
        (NetworkNamespace::Isolated, _) => {
            process::loopback_up().during("bring the loopback device up")
        }
        (NetworkNamespace::Passed, Some(network)) => {
            rustix::thread::move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
                .during("join the network namespace")
        }
        (NetworkNamespace::Passed, None) => {
            Err(rustix::io::Errno::INVAL).during("join the network namespace that was passed")
        }
    }
}

#[allow(
    deprecated,
    reason = "the safe form; what the other warns about, descriptor tables, is not unshared"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}
