//! The program on a terminal of its own, and somebody who types.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Home;

/// How long nothing may appear.
const PATIENCE: Duration = Duration::from_secs(90);

/// The size of the terminal: rows and columns that nothing else has.
pub(crate) const SIZE: (u16, u16) = (33, 101);

impl Home {
    /// Runs the program on a terminal to its end. Each line is typed once the
    /// text before it has appeared. Returns the exit code and all that was shown.
    pub(crate) fn run_on_terminal<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        typed: &[(&str, &str)],
    ) -> (i32, String) {
        self.run_on_terminal_with(arguments, &[], typed)
    }

    /// The same with more variables in the environment.
    pub(crate) fn run_on_terminal_with<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        variables: &[(&str, &str)],
        typed: &[(&str, &str)],
    ) -> (i32, String) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: SIZE.0,
            ws_col: SIZE.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || -> Stdio {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            let mode = rustix::fs::Mode::empty();
            let fd: OwnedFd = rustix::fs::open(name.as_c_str(), flags, mode).unwrap();
            fd.into()
        };
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let mut child = command.spawn().unwrap();
        // The command keeps its own copies of the terminal's ends.
        drop(command);
        let mut screen = File::from(master.try_clone().unwrap());
        let (sender, pieces) = channel();
        // The terminal fails to be read once nobody has it open any more.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut keyboard = File::from(master);
        let mut shown = Vec::new();
        let mut seen = 0;
        let mut typed = typed.iter();
        let mut next = typed.next();
        loop {
            while let Some((wait_for, line)) = next {
                let rest = String::from_utf8_lossy(&shown[seen..]).into_owned();
                if !rest.contains(wait_for) {
                    break;
                }
                seen = shown.len();
                keyboard.write_all(line.as_bytes()).unwrap();
                next = typed.next();
            }
            match pieces.recv_timeout(PATIENCE) {
                Ok(piece) => shown.extend_from_slice(&piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let pid = rustix::process::Pid::from_child(&child);
                    let _gone = rustix::process::kill_process(pid, Signal::TERM);
                    break;
                }
            }
        }
        let code = super::home::code(child.wait().unwrap());
        let text = String::from_utf8_lossy(&shown).into_owned();
        assert!(next.is_none(), "never saw {next:?} in {text}");
        (code, text)
    }
}
