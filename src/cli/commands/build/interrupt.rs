//! Ctrl-C during a build: the build is asked to stop, cleans up, and the
//! command ends with the code of an interrupt.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rbuild::build::Cancel;
use rbuild::sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};

/// SIGINT and SIGTERM of signal(7).
const STOPPING: [i32; 2] = [2, 15];

/// Watches for signals that stop a build. Made before any other thread, so that
/// none of them takes the signals.
#[derive(Debug)]
pub(in crate::cli::commands) struct Interrupt {
    // Dropped first: it ends the watching thread.
    end: Option<OwnedFd>,
    watching: Option<JoinHandle<()>>,
    happened: Arc<AtomicBool>,
}

impl Interrupt {
    /// Stops `cancel` when a signal asks for it.
    pub(super) fn watch(cancel: &Cancel) -> io::Result<Self> {
        let signals = Signals::catch(&STOPPING)?;
        let (ended, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let happened = Arc::new(AtomicBool::new(false));
        let (cancel, flag) = (cancel.clone(), Arc::clone(&happened));
        let watching = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || wait(&signals, &ended, &cancel, &flag))?;
        Ok(Self {
            end: Some(end),
            watching: Some(watching),
            happened,
        })
    }

    /// Whether a signal asked for the end.
    pub(in crate::cli::commands) fn happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.end = None;
        if let Some(watching) = self.watching.take() {
            // It cannot panic, and there is nothing to do if it did.
            let _ended = watching.join();
        }
    }
}

fn wait(signals: &Signals, ended: &OwnedFd, cancel: &Cancel, happened: &AtomicBool) {
    loop {
        let mut fds = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if signals.next().is_some() {
            happened.store(true, Ordering::SeqCst);
            cancel.cancel();
        }
        if !fds[1].revents().is_empty() {
            return;
        }
    }
}
