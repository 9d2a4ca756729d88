//! A sandbox of an outside runtime: laid ready, made, watched, deleted.

mod call;
mod console;
mod stage;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use self::call::Call;
use self::console::Console;
use super::super::channel::{self, Notice, Report};
use super::super::failure::{During, Failure, Step};
use super::super::outside::{Errand, Runtime};
use super::super::{Namespace, Spec};
use super::{KEEP_FURTHER, attend, kill, retry, wait_or_kill};
use crate::sys::cgroup::{Group, Hierarchies};
use crate::sys::process;
use crate::sys::signals::Signals;

/// What came along with an errand.
pub(super) struct Luggage {
    pub(super) terminal: bool,
    pub(super) network: bool,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) reports: OwnedFd,
}

/// A process that the runtime started and this process adopted.
struct Adopted {
    pid: i32,
    pidfd: OwnedFd,
}

/// Runs the errand to its end.
pub(super) fn run(errand: &Errand, luggage: Luggage, control: BorrowedFd<'_>) -> io::Result<()> {
    // What the runtime starts outlives it, and becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    match errand {
        Errand::Create {
            runtime,
            spec,
            config,
        } => match create(runtime, spec, config, &luggage) {
            Ok(first) => {
                tell_start(control, luggage, &first)?;
                stay(control, runtime, spec, &first)
            }
            Err(failure) => fail(&luggage.reports, failure),
        },
        Errand::Exec {
            runtime, process, ..
        } => match exec(runtime, process, &luggage) {
            Ok(process) => {
                tell_start(control, luggage, &process)?;
                wait_or_kill(control, &process.pidfd)?;
                attend(control, &process.pidfd, None, Some(KEEP_FURTHER))
            }
            Err(failure) => fail(&luggage.reports, failure),
        },
        Errand::Call {
            runtime,
            words,
            document,
        } => match call(runtime, words, document.as_deref()) {
            Ok(()) => channel::send(control, &Notice::Done, &[], &[]),
            Err(failure) => fail(&luggage.reports, failure),
        },
    }
}

fn fail(reports: &OwnedFd, failure: Failure) -> io::Result<()> {
    channel::report(reports.as_fd(), &Report::Failed(failure), None)
}

fn tell_start(control: BorrowedFd<'_>, luggage: Luggage, process: &Adopted) -> io::Result<()> {
    // The last copies: the parent hears from now on what the program closes.
    drop(luggage);
    let notice = Notice::Started { pid: process.pid };
    let told = channel::send(control, &notice, &[], &[process.pidfd.as_fd()]);
    // A parent that is gone already is noticed by whoever waits next.
    told.or(Ok(()))
}

fn create(runtime: &Runtime, spec: &Spec, config: &str, luggage: &Luggage) -> Step<Adopted> {
    let call = Call::prepare(runtime)?;
    // What a shim left that was killed together with its init.
    call.forget();
    let network = luggage.descriptors.first().filter(|_| luggage.network);
    stage::make(spec, network.map(AsFd::as_fd))?;
    let bundle = call.write_bundle(config)?;
    call.keep()?;
    let made = make(&call, &bundle, luggage, spec);
    if made.is_err() {
        call.forget();
    }
    made
}

fn make(call: &Call<'_>, bundle: &str, luggage: &Luggage, spec: &Spec) -> Step<Adopted> {
    let console = luggage
        .terminal
        .then(|| Console::listen(&call.runtime().dir))
        .transpose()?;
    let pid_file = call.file("pid");
    let mut words = vec!["create", "--bundle", bundle, "--pid-file", &pid_file];
    let place = console.as_ref().map(Console::address);
    if let Some(place) = &place {
        words.extend(["--console-socket", place]);
    }
    let id = &call.runtime().id;
    words.push(id);
    call.run("create", &words, streams(luggage))?;
    let first = adopt(&pid_file)?;
    let started = console
        .map_or(Ok(()), |console| {
            console.hand_over(luggage.reports.as_fd(), spec.terminal)
        })
        .and_then(|()| call.run("start", &["start", id], None));
    if let Err(failure) = started {
        kill(&first.pidfd);
        return Err(failure);
    }
    Ok(first)
}

fn exec(runtime: &Runtime, process: &str, luggage: &Luggage) -> Step<Adopted> {
    let call = Call::join(runtime)?;
    // Several may be started at a time.
    let own = rustix::process::getpid().as_raw_nonzero();
    let (document, pid_file) = (
        call.file(&format!("exec-{own}.json")),
        call.file(&format!("exec-{own}.pid")),
    );
    let run = || {
        std::fs::write(&document, process).during_with(|| format!("write `{document}`"))?;
        let console = luggage
            .terminal
            .then(|| Console::listen(&runtime.dir))
            .transpose()?;
        let mut words = vec!["exec", "--detach", "--process", &document];
        words.extend(["--pid-file", &pid_file]);
        let place = console.as_ref().map(Console::address);
        if let Some(place) = &place {
            words.extend(["--console-socket", place]);
        }
        words.push(&runtime.id);
        call.run("exec", &words, streams(luggage))?;
        let adopted = adopt(&pid_file)?;
        if let Some(console) = console {
            console.hand_over(luggage.reports.as_fd(), None)?;
        }
        Ok(adopted)
    };
    let started = run();
    for file in [&document, &pid_file] {
        let _absent = std::fs::remove_file(file);
    }
    started
}

fn call(runtime: &Runtime, words: &[String], document: Option<&str>) -> Step<()> {
    let call = Call::join(runtime)?;
    let own = rustix::process::getpid().as_raw_nonzero();
    let file = call.file(&format!("call-{own}.json"));
    if let Some(document) = document {
        std::fs::write(&file, document).during_with(|| format!("write `{file}`"))?;
    }
    let words: Vec<&str> = words
        .iter()
        .map(|word| if word == "{}" { &file } else { word.as_str() })
        .collect();
    let verb = words.first().copied().unwrap_or_default();
    let done = call.run(verb, &words, None);
    if verb == "delete" {
        call.tidy_groups();
    }
    if document.is_some() {
        let _absent = std::fs::remove_file(&file);
    }
    done
}

/// Standard input, output and error, unless they are a terminal.
fn streams(luggage: &Luggage) -> Option<[BorrowedFd<'_>; 3]> {
    let skipped = usize::from(luggage.network);
    let rest = luggage.descriptors.get(skipped..)?;
    let mut rest = rest.iter().map(AsFd::as_fd);
    if luggage.terminal {
        return None;
    }
    Some([rest.next()?, rest.next()?, rest.next()?])
}

/// Takes the process on whose number the runtime has written down. It is a child
/// of this one by now, so the number stays its own.
fn adopt(pid_file: &str) -> Step<Adopted> {
    const STEP: &str = "find the process that the runtime started";
    let text = std::fs::read_to_string(pid_file).during(STEP)?;
    let pid = text.trim().parse::<i32>().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(rustix::io::Errno::SRCH).during(STEP)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(STEP)?;
    Ok(Adopted {
        pid: pid.as_raw_nonzero().get(),
        pidfd,
    })
}

/// Waits for the first process, collects what others leave behind, and deletes
/// the container at its end. When the parent goes first, so does the container.
fn stay(
    control: BorrowedFd<'_>,
    runtime: &Runtime,
    spec: &Spec,
    first: &Adopted,
) -> io::Result<()> {
    let children = Signals::catch(&[libc::SIGCHLD])?;
    let call = Call::again(runtime);
    let mut parent_is_there = true;
    loop {
        collect_strangers(first.pid);
        let mut fds = vec![
            PollFd::new(&first.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
        ];
        if parent_is_there {
            fds.push(PollFd::from_borrowed_fd(control, PollFlags::IN));
        }
        retry(|| poll(&mut fds, None))?;
        if !fds[0].revents().is_empty() {
            break;
        }
        if fds.get(2).is_some_and(|fd| !fd.revents().is_empty()) {
            parent_is_there = false;
            call.forget();
            kill(&first.pidfd);
        }
        drop(fds);
        while children.next().is_some() {}
    }
    drop(children);
    let group = spec.cgroup.as_deref();
    let group = group.and_then(|name| Group::existing(&Hierarchies::discover(), name).ok());
    let end = super::End::of(first.pidfd.as_fd(), group.as_ref())?;
    // It also ends what is left of a container that shares its processes.
    if spec.particulars.processes != Namespace::Own
        && let Some(group) = &group
    {
        super::kill_rest(group, &first.pidfd);
    }
    call.forget();
    end.tell(control, &first.pidfd, None)
}

/// Collects ended children that are not the first process, which is collected
/// once its parent has heard of it.
fn collect_strangers(first: i32) {
    while let Ok(Some(pid)) = process::ended_child()
        && pid != first
        && let Some(pid) = Pid::from_raw(pid)
    {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if waitid(WaitId::Pid(pid), options).is_err() {
            return;
        }
    }
}
