//! A pseudo terminal, and what a person would see on it.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program whose standard error is a terminal.
pub(crate) struct Terminal {
    screen: vt100::Parser,
    /// Everything that the program wrote.
    pub(crate) written: Vec<u8>,
    /// The program.
    pub(crate) child: Child,
    device: OwnedFd,
    bytes: Receiver<Vec<u8>>,
}

impl Terminal {
    /// Starts a program on a terminal of this size.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&device, size(columns, rows)).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(device.as_fd().try_clone_to_owned().unwrap())
            .spawn()
            .unwrap();
        drop(command);
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            screen: parser(columns, rows),
            written: Vec::new(),
            child,
            device,
            bytes,
        }
    }

    /// Changes the size, as a person with a mouse would. Rows that have become
    /// too long are broken, as most terminals do it.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let (row, _) = self.screen.screen().cursor_position();
        let before = self.rows();
        self.screen = parser(columns, rows);
        for text in &before[..usize::from(row)] {
            self.screen.process(format!("{text}\r\n").as_bytes());
        }
        tcsetwinsize(&self.device, size(columns, rows)).unwrap();
    }

    /// Waits until the rows of the screen are as `wanted` says, and returns them.
    /// Only whole frames are looked at, as a terminal that knows synchronized
    /// output shows them.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows();
            if self.written.ends_with(b"\x1b[?2026l") && wanted(&rows) {
                return rows;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("it never came to that: {rows:#?}")
                }
            }
        }
    }

    /// Waits for the program's end; its exit code and the rows of the last screen.
    pub(crate) fn finish(&mut self) -> (Option<i32>, Vec<String>) {
        let status = self.child.wait().unwrap();
        // What was written is in the channel within moments.
        while let Ok(bytes) = self.bytes.recv_timeout(Duration::from_millis(300)) {
            self.take(&bytes);
        }
        (status.code(), self.rows())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.written.extend_from_slice(bytes);
    }

    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.screen.screen().size();
        let rows = self.screen.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves its program behind, which would leave its steps.
        if let Ok(None) = self.child.try_wait() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            let _gone = self.child.wait();
        }
    }
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    let some = |count| NonZero::new(count).unwrap();
    vt100::Parser::new(some(rows), some(columns), 1000)
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
