//! Child side, after re-execution: one thread, small memory, so that it can fork.

mod devices;
mod enter;
mod execute;
mod first;
mod masks;
pub(super) mod mounts;
mod outside;
pub(super) mod overlay;
mod place;
mod privileges;
pub(super) mod rootfs;
mod shared;
mod standard;
mod stdio;
mod sysctl;
mod trees;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) use devices::of_host as devices_of_host;
pub(super) use execute::Program;
pub(super) use masks::{READ_ONLY, masked};
pub(super) use privileges::limit_name;
pub use sysctl::IPC_SYSCTLS;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use self::outside::Luggage;
use self::shared::Memory;
use super::channel::{self, Notice, Order, Report, Task};
use super::failure::{During, Failure, Step};
use super::{ExecSpec, Namespace, NetworkNamespace, Spec};
use crate::sys::cgroup::{self, Group, Hierarchies};
use crate::sys::process::{self, Fork};

/// How long a further process is kept for its parent after its end. The sandbox's
/// first process cannot end before it is collected.
const KEEP_FURTHER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Runs as a sandbox's init: reads the order from its standard input (a
/// socket), starts the program in its namespaces and reports its end. Never
/// returns to the command line. Returns the process' exit code.
pub fn main() -> i32 {
    let control = rustix::stdio::stdin();
    // Keys typed at the caller's terminal are for the caller.
    let _leads_already = rustix::process::setsid();
    let _unnamed = rustix::thread::set_name(c"rbuild-init");
    let Ok(Some((order, filter, descriptors))) = channel::receive::<Order<Task>>(control) else {
        return 1;
    };
    let mut descriptors = descriptors.into_iter();
    let Some(reports) = descriptors.next() else {
        return 1;
    };
    if let Task::Outside(errand) = &order.task {
        let luggage = Luggage {
            terminal: order.terminal,
            network: order.network,
            descriptors: descriptors.collect(),
            reports,
        };
        return i32::from(outside::run(errand, luggage, control).is_err());
    }
    let order = Work {
        order,
        filter,
        descriptors: descriptors.collect(),
        reports,
    };
    i32::from(order.run(control).is_err())
}

/// An order with what came along.
struct Work {
    order: Order<Task>,
    /// The system call filter; empty for none.
    filter: Vec<u8>,
    /// The network namespace, if any, and standard input, output and error, if any.
    descriptors: Vec<OwnedFd>,
    reports: OwnedFd,
}

/// An order as far as the init itself can carry it out.
enum Ready<'a> {
    /// The first process of a sandbox, in this cgroup, with this shared memory.
    First(&'a Spec, Option<Group>, Memory),
    /// A further process beside the one of this pidfd.
    Further(&'a ExecSpec, OwnedFd),
}

impl Work {
    fn run(self, control: BorrowedFd<'_>) -> io::Result<()> {
        let ready = match self.prepare() {
            Ok(ready) => ready,
            Err(failure) => return self.fail(failure),
        };
        let namespaces = match &ready {
            Ready::First(spec, group, _) => namespaces(spec, group.is_some()),
            Ready::Further(..) => 0,
        };
        let forked = process::fork_single_threaded(namespaces).during("make the namespaces");
        if let Ok(Fork::Child) = forked {
            let failure = match &ready {
                Ready::First(spec, group, memory) => {
                    first::become_program(spec, group.as_ref(), memory, &self)
                }
                Ready::Further(spec, target) => enter::become_program(target.as_fd(), spec, &self),
            };
            let _gone = self.fail(failure);
            process::exit_now(127)
        }
        let later = match &ready {
            Ready::First(spec, ..) => spec.particulars.later_cgroup.clone(),
            Ready::Further(..) => None,
        };
        let (group, keep, die_with_parent) = match ready {
            Ready::First(spec, group, _) => {
                let group = group.map(|group| (group, spec.particulars.processes));
                (group, None, spec.die_with_parent)
            }
            Ready::Further(..) => (None, Some(KEEP_FURTHER), true),
        };
        match forked {
            Ok(Fork::Parent { pid, pidfd }) => {
                // The last copy outside the first process: it closes with the execution.
                drop(self);
                process::give_memory_back();
                let notice = Notice::Started { pid };
                let told = channel::send(control, &notice, &[], &[pidfd.as_fd()]);
                if told.is_err() && die_with_parent {
                    kill(&pidfd);
                }
                let is_left = die_with_parent && wait_or_kill(control, &pidfd)?;
                let later = later.filter(|_| is_left).and_then(|name| let_go(&name));
                let attended = attend(control, &pidfd, group, keep);
                remove(later);
                attended
            }
            Ok(Fork::Child) => Ok(()),
            Err(failure) => {
                remove(group.map(|(group, _)| group));
                self.fail(failure)
            }
        }
    }

    fn prepare(&self) -> Step<Ready<'_>> {
        match &self.order.task {
            Task::Spawn(spec) => {
                if let Namespace::Of(pid) = spec.particulars.processes {
                    enter::join_pid_namespace(pid)?;
                }
                // Pids of the host mean nothing in the sandbox any more.
                let memory = shared::memory(spec)?;
                let group = make_group(spec, self.reports.as_fd())?;
                Ok(Ready::First(spec, group, memory))
            }
            Task::Enter(pid, spec) => {
                enter::join_pid_namespace(*pid).map(|target| Ready::Further(spec, target))
            }
            // Carried out without a fork of ours.
            Task::Outside(_) => Err(rustix::io::Errno::INVAL).during("read the order"),
        }
    }

    fn fail(&self, failure: Failure) -> io::Result<()> {
        channel::report(self.reports.as_fd(), &Report::Failed(failure), None)
    }
}

/// The new namespaces of the first process.
fn namespaces(spec: &Spec, cgroup_later: bool) -> i32 {
    let mut flags = libc::CLONE_NEWNS;
    if spec.particulars.processes == Namespace::Own {
        flags |= libc::CLONE_NEWPID;
    }
    if spec.particulars.ipc == Namespace::Own {
        flags |= libc::CLONE_NEWIPC;
    }
    if spec.hostname.is_some() {
        flags |= libc::CLONE_NEWUTS;
    }
    if spec.network == NetworkNamespace::Isolated {
        flags |= libc::CLONE_NEWNET;
    }
    if !cgroup_later && !spec.particulars.host_cgroups {
        flags |= libc::CLONE_NEWCGROUP;
    }
    flags
}

/// Makes the cgroup that the specification names.
fn make_group(spec: &Spec, reports: BorrowedFd<'_>) -> Step<Option<Group>> {
    let Some(name) = &spec.cgroup else {
        return Ok(None);
    };
    let scope = cgroup::scope_of(name).map(|scope| scope.enter());
    let refused = scope.and_then(Result::err);
    let refused = refused.map(|err| format!("systemd makes no scope for the container: {err}"));
    let (group, warnings) = Group::create(&Hierarchies::discover(), name, &spec.resources)
        .during_with(|| format!("make the cgroup `{name}`"))?;
    for warning in refused.into_iter().chain(warnings) {
        channel::report(reports, &Report::Warning(warning), None).during("report a warning")?;
    }
    Ok((!group.is_empty()).then_some(group))
}

fn remove(group: Option<Group>) {
    if let Some(group) = group {
        group.remove();
    }
}

fn kill(pidfd: &OwnedFd) {
    // It may be gone already.
    let _gone = pidfd_send_signal(pidfd, Signal::KILL);
}

/// Waits for the first process, cleans up and tells. It is not collected before
/// the parent has heard of its end, so that its pid means nobody else as long as
/// the parent uses it; but for no longer than `keep`, if that is given.
fn attend(
    control: BorrowedFd<'_>,
    pidfd: &OwnedFd,
    group: Option<(Group, Namespace)>,
    keep: Option<Timespec>,
) -> io::Result<()> {
    wait_for(pidfd.as_fd())?;
    let group = group.map(|(group, processes)| {
        if processes != Namespace::Own {
            kill_rest(&group, pidfd);
        }
        group
    });
    let end = End::of(pidfd.as_fd(), group.as_ref())?;
    remove(group);
    end.tell(control, pidfd, keep)
}

/// Waits for a process' end without collecting it.
fn wait_for(pidfd: BorrowedFd<'_>) -> io::Result<Option<WaitIdStatus>> {
    retry(|| {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd), options)
    })
}

/// How the first process ended, and what it used.
struct End(Notice);

impl End {
    /// Waits for the end and looks at it, while its group is still there.
    fn of(pidfd: BorrowedFd<'_>, group: Option<&Group>) -> io::Result<Self> {
        let status = wait_for(pidfd)?;
        // Of the first process and all that it or the kernel collected: it was the
        // first of its pid namespace, so that is everybody.
        let own = process::usage_of_ended(pidfd).unwrap_or_default();
        let counted = group.map(Group::usage).unwrap_or_default();
        let code = status.as_ref().and_then(WaitIdStatus::exit_status);
        let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
        Ok(Self(Notice::Ended {
            code,
            signal: signal.unwrap_or(0),
            out_of_memory: group.is_some_and(Group::saw_out_of_memory_kill),
            cpu: counted.cpu.unwrap_or(own.cpu),
            memory_peak: counted.memory_peak.unwrap_or(own.memory_peak),
        }))
    }

    /// Tells the parent, and collects the process once that has heard of it; but
    /// waits no longer than `keep`, if that is given.
    fn tell(
        &self,
        control: BorrowedFd<'_>,
        pidfd: &OwnedFd,
        keep: Option<Timespec>,
    ) -> io::Result<()> {
        channel::send(control, &self.0, &[], &[])?;
        let mut closed = [PollFd::from_borrowed_fd(control, PollFlags::IN)];
        retry(|| poll(&mut closed, keep.as_ref()))?;
        retry(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))?;
        Ok(())
    }
}

/// Kills what the first process leaves behind: without a pid namespace of its own
/// its end is not theirs.
fn kill_rest(group: &Group, first: &OwnedFd) {
    const ROUNDS: u32 = 100;
    group.kill();
    for _ in 0..ROUNDS {
        let left = group.processes();
        let mut alive = false;
        for pid in left.into_iter().filter_map(rustix::process::Pid::from_raw) {
            alive |= rustix::process::kill_process(pid, Signal::KILL).is_ok();
        }
        if !alive {
            return;
        }
        // The first one stays listed until it is collected.
        let mut ended = [PollFd::new(first, PollFlags::empty())];
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        let _waited = poll(&mut ended, Some(&pause));
    }
}

/// Waits until the first process has ended. When the parent's end of the control
/// socket closes before, however the parent died, kills it first. (The kernel's
/// signal at a parent's death comes when its *thread* ends, which threads do.)
///
/// Returns whether it had to.
fn wait_or_kill(control: BorrowedFd<'_>, pidfd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [
        PollFd::new(pidfd, PollFlags::IN),
        PollFd::from_borrowed_fd(control, PollFlags::IN),
    ];
    retry(|| poll(&mut fds, None))?;
    let is_left = fds[0].revents().is_empty();
    if is_left {
        kill(pidfd);
    }
    Ok(is_left)
}

/// Lets the processes of a cgroup go on, if they are frozen: so they can die. The
/// group is nobody else's to remove any more.
fn let_go(name: &str) -> Option<Group> {
    let group = Group::existing(&Hierarchies::discover(), name).ok()?;
    // One that was never frozen goes on already.
    let _thawed = group.thaw();
    (!group.is_empty()).then_some(group)
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}
