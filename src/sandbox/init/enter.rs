//! A further process in a running sandbox, from the fork to the program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::ThreadNameSpaceType;

use super::super::ExecSpec;
use super::super::failure::{During, Failure, Step};
use super::execute::{self, Program};
use super::privileges::Privileges;
use super::{Work, first, place};
use crate::sys::cgroup::{Group, Hierarchies};

/// Makes the next child a process of the sandbox's pid namespace. Returns the
/// pidfd of its first process, whose number is another one in there.
pub(super) fn join_pid_namespace(pid: i32) -> Step<OwnedFd> {
    const STEP: &str = "find the sandbox's first process";
    let pid = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .during(STEP)?;
    let target = pidfd_open(pid, PidfdFlags::empty()).during(STEP)?;
    let processes = ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(target.as_fd(), processes)
        .during("join the sandbox's processes")?;
    Ok(target)
}

/// Becomes the program. Comes back only with the reason why not.
pub(super) fn become_program(target: BorrowedFd<'_>, spec: &ExecSpec, work: &Work) -> Failure {
    match prepare(target, spec, work) {
        Ok(program) => program.execute(),
        Err(failure) => failure,
    }
}

fn prepare(target: BorrowedFd<'_>, spec: &ExecSpec, work: &Work) -> Step<Program> {
    first::harden(true)?;
    if let Some(name) = &spec.cgroup {
        // The host's tree is out of sight once the mounts are the sandbox's.
        Group::existing(&Hierarchies::discover(), name)
            .and_then(|group| group.join())
            .during_with(|| format!("join the cgroup `{name}`"))?;
    }
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::CONTROL_GROUP;
    rustix::thread::move_into_thread_name_spaces(target, namespaces)
        .during("join the sandbox's namespaces")?;
    let (_, streams) = first::descriptors(work)?;
    rustix::process::setsid().during("start a session")?;
    let program = Program::new(&spec.argv, &spec.env)?;
    let streams = streams.open_existing(spec.terminal, work)?;
    let cwd = place::existing_directory(&spec.cwd)
        .during_with(|| format!("open the working directory `{}`", spec.cwd.display()))?;
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
        die_with_parent: true,
        apparmor: None,
        label: None,
    };
    execute::finish(&privileges, work)?;
    Ok(program)
}
