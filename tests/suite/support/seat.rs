//! A place at a terminal: the program with a controlling terminal of its own,
//! what it shows, and somebody's hands on the keyboard.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::Home;

/// How long something may take to appear, or the program to end.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program on a terminal of 33 rows and 101 columns.
#[derive(Debug)]
pub(crate) struct Seat {
    child: Child,
    /// Nothing after the terminal was closed.
    ends: Option<(File, OwnedFd)>,
    former: Termios,
    /// It has the terminal open, too.
    reader: Option<JoinHandle<()>>,
    closed: Arc<AtomicBool>,
    pieces: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    seen: usize,
}

impl Seat {
    /// Starts the program.
    pub(crate) fn take<S: AsRef<OsStr>>(home: &Home, arguments: &[S]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&device, size(33, 101)).unwrap();
        let end = || Stdio::from(device.try_clone().unwrap());
        let mut command = home.command_in(&["setsid", "--ctty"], arguments);
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("util-linux is installed");
        drop(command);
        let mut screen = File::from(master.try_clone().unwrap());
        let (sender, pieces) = channel();
        // The terminal fails to be read once nobody has it open any more.
        let closed = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&closed);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            while !done.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(&screen, PollFlags::IN)];
                if poll(&mut fds, Some(&pause)) == Ok(0) {
                    continue;
                }
                let Ok(length @ 1..) = screen.read(&mut buffer) else {
                    return;
                };
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            former: tcgetattr(&device).unwrap(),
            ends: Some((File::from(master), device)),
            reader: Some(reader),
            closed,
            pieces,
            shown: Vec::new(),
            seen: 0,
        }
    }

    /// Waits until the terminal shows this, after what was waited for before.
    #[track_caller]
    pub(crate) fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = &self.shown[self.seen..];
            let mut windows = rest.windows(text.len());
            if let Some(at) = windows.position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = self.pieces.recv_timeout(left);
            let unseen = || format!("never saw {text:?}, but {:?}", self.unseen());
            let piece = piece.unwrap_or_else(|err| panic!("{err}: {}", unseen()));
            self.shown.extend_from_slice(&piece);
        }
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: impl AsRef<[u8]>) {
        let (keyboard, _) = self.ends.as_mut().expect("the terminal is open");
        keyboard.write_all(keys.as_ref()).unwrap();
    }

    /// Changes the size of the terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let (_, device) = self.ends.as_ref().expect("the terminal is open");
        tcsetwinsize(device, size(rows, columns)).unwrap();
    }

    /// Whether keys go to the program as they are.
    pub(crate) fn is_raw(&self) -> bool {
        !self.mode().local_modes.contains(LocalModes::ICANON)
    }

    /// Whether the terminal is as it was before the program was started.
    pub(crate) fn is_sane(&self) -> bool {
        let now = self.mode();
        let form = |mode: &Termios| {
            (
                mode.input_modes,
                mode.output_modes,
                mode.control_modes,
                mode.local_modes,
            )
        };
        form(&now) == form(&self.former)
    }

    fn mode(&self) -> Termios {
        let (_, device) = self.ends.as_ref().expect("the terminal is open");
        tcgetattr(device).unwrap()
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the terminal, as somebody who closes its window.
    pub(crate) fn close(&mut self) {
        self.ends = None;
        self.closed.store(true, Ordering::Relaxed);
        let reader = self.reader.take().expect("it is closed once");
        reader.join().unwrap();
    }

    /// Waits for the end of the program and returns its exit code. All that it
    /// showed and nobody waited for can be read then.
    #[track_caller]
    pub(crate) fn leaves(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.pieces.recv_timeout(Duration::from_millis(20)) {
                Ok(piece) => self.shown.extend_from_slice(&piece),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "it does not end: {:?}", self.unseen());
        };
        while let Ok(piece) = self.pieces.recv_timeout(Duration::from_millis(100)) {
            self.shown.extend_from_slice(&piece);
        }
        super::home::code(status)
    }

    /// What was shown and not waited for.
    pub(crate) fn unseen(&self) -> String {
        String::from_utf8_lossy(&self.shown[self.seen..]).into_owned()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A test that failed leaves its program behind.
        if let Ok(None) = self.child.try_wait() {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
