//! The first process of a sandbox that is not the program: it starts the program,
//! passes signals on, collects what others leave behind, and ends as the program
//! did.

use std::ffi::OsString;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::failure::Failure;
use super::init::Program;
use crate::sys::process;
use crate::sys::signals::Signals;

/// The signals that are not passed on: they are for this process, or mean it.
const KEPT: [i32; 8] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

/// Runs `arguments`, which follow a `--`, and returns the exit code of the program.
pub fn main(arguments: Vec<OsString>) -> i32 {
    let words: Vec<String> = arguments
        .into_iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let env: Vec<String> = process::environment();
    let Ok(program) = Program::new(&words, &env) else {
        return 127;
    };
    let _unnamed = rustix::thread::set_name(c"docker-init");
    let caught: Vec<i32> = (1..=64).filter(|signal| !KEPT.contains(signal)).collect();
    let caught = [caught.as_slice(), &[libc::SIGCHLD]].concat();
    let Ok(signals) = Signals::catch(&caught) else {
        return 127;
    };
    match process::fork_plainly() {
        Ok(None) => {
            drop(signals);
            become_program(&program)
        }
        Ok(Some(pid)) => attend(pid, &signals),
        Err(_) => 127,
    }
}

/// Takes a process group and the terminal, if there is one, and executes.
fn become_program(program: &Program) -> ! {
    let _alone = rustix::process::setpgid(None, None);
    let _without_terminal = process::take_foreground();
    let reset = process::reset_signals();
    let failure = match reset {
        Ok(()) => program.execute(),
        Err(err) => Failure::step("reset the signals", &err),
    };
    let code = match failure {
        Failure::NotExecutable { .. } => 126,
        Failure::NotFound | Failure::SetUp { .. } | Failure::Runtime { .. } => 127,
    };
    process::complain("docker-init: cannot execute the program\n");
    process::exit_now(code)
}

/// Passes signals on until the program has ended; returns its exit code.
fn attend(program: i32, signals: &Signals) -> i32 {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        let _interrupted = poll(&mut fds, None);
        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD
                && let (Some(pid), Some(signal)) =
                    (Pid::from_raw(program), Signal::from_named_raw(signal))
            {
                // It may have ended just now.
                let _gone = kill_process(pid, signal);
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get() != program {
                continue;
            }
            if let Some(code) = status.exit_status() {
                return code;
            }
            if let Some(signal) = status.terminating_signal() {
                return 128 + signal;
            }
        }
    }
}
