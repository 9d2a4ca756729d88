//! What somebody at a terminal sees and does: the program has a real one.

mod ends;
mod flow;
mod keys;

use crate::support::{Home, Seat};

/// Starts `run -it FLAGS busybox COMMAND` and waits for the shell's prompt, where it has one.
fn shell(home: &Home, name: &str) -> Seat {
    let words = ["run", "-it", "--network", "none", "--name", name];
    let mut seat = Seat::take(home, &[&words[..], &["busybox", "sh"]].concat());
    seat.sees("# ");
    seat
}

/// Starts a script in a container at a terminal.
fn script(home: &Home, name: &str, script: &str) -> Seat {
    let words = ["run", "-it", "--network", "none", "--name", name];
    Seat::take(
        home,
        &[&words[..], &["busybox", "sh", "-c", script]].concat(),
    )
}
