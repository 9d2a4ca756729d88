//! Keys that mean something: to a shell, to a program, to the command itself.

use super::super::base::{exec, home, of, until, up};
use super::{script, shell};
use crate::support::Seat;

#[test]
fn a_shell_has_job_control() {
    let Some(home) = home() else { return };
    let mut seat = shell(&home, "aa");
    assert!(seat.is_raw());
    seat.types("sleep 4711\n");
    seat.sees("sleep 4711");
    // Keys are the job's from the moment on that it has the terminal and is executed:
    // the shell's child ignores them before.
    let leader = "cat /proc/$(cut -d' ' -f8 /proc/1/stat)/comm";
    let foreground = || exec(&home, "aa", leader) == "sleep";
    until("a job in the foreground", foreground);
    seat.types(b"\x1a");
    seat.sees("Stopped");
    seat.sees("# ");
    seat.types("bg\n");
    seat.sees("# ");
    seat.types("jobs\n");
    seat.sees("Running");
    seat.sees("# ");
    seat.types("fg\n");
    until("a job in the foreground", foreground);
    seat.types(b"\x03");
    seat.sees("# ");
    seat.types("echo code $?\n");
    seat.sees("code 130");
    seat.sees("# ");
    seat.types(b"\x04");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
}

#[test]
fn interrupts_are_the_programs_and_not_the_commands() {
    let Some(home) = home() else { return };
    let trap = "trap 'echo one' INT; trap 'echo two' QUIT; echo up; while :; do sleep 0.1; done";
    let mut seat = script(&home, "aa", trap);
    seat.sees("up");
    seat.types(b"\x03");
    seat.sees("one");
    seat.types(b"\x1c");
    seat.sees("two");
    home.run(&["stop", "-t", "0", "aa"]).ok();
    assert_eq!(seat.leaves(), 137);
    assert!(seat.is_sane());
}

#[test]
fn the_keys_leave_and_the_container_goes_on() {
    let Some(home) = home() else { return };
    let mut seat = shell(&home, "aa");
    seat.types("mark=4242\n");
    seat.sees("# ");
    // One after the other, as fingers do it.
    seat.types(b"\x10");
    seat.types(b"\x11");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
    assert_eq!(of(&home, "aa", "/State/Running"), true);
    // The shell draws its prompt for whoever comes, without a key.
    let mut seat = Seat::take(&home, &["attach", "aa"]);
    seat.sees("# ");
    seat.types("echo $mark\n");
    seat.sees("4242");
    seat.types(b"\x10\x11");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
    let mut seat = Seat::take(&home, &["attach", "--detach-keys", "ctrl-x,y", "aa"]);
    seat.sees("# ");
    seat.types(b"\x18y");
    assert_eq!(seat.leaves(), 0);
    let mut seat = Seat::take(&home, &["start", "-ai", "aa"]);
    seat.sees("# ");
    seat.types("exit 9\n");
    assert_eq!(seat.leaves(), 9);
    let mut seat = Seat::take(&home, &["start", "-ai", "aa"]);
    seat.sees("# ");
    seat.types("exit 8\n");
    assert_eq!(seat.leaves(), 8);
    assert!(seat.is_sane());
}

#[test]
fn what_only_begins_like_the_keys_is_typed() {
    let Some(home) = home() else { return };
    let mut seat = script(&home, "aa", "stty -echo; echo up; cat -v");
    seat.sees("up");
    seat.types(b"a\x10");
    seat.types(b"b\n");
    seat.sees("a^Pb");
    seat.types(b"\x10\x10\x11");
    assert_eq!(seat.leaves(), 0);
    home.run(&["rm", "-f", "aa"]).ok();
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let mut seat = Seat::take(&home, &["exec", "-it", "aa", "sh"]);
    seat.sees("# ");
    seat.types("stty size; tty\n");
    seat.sees("33 101");
    seat.sees("/dev/pts/0");
    seat.types("exit 6\n");
    assert_eq!(seat.leaves(), 6);
    assert!(seat.is_sane());
    let mut seat = Seat::take(&home, &["exec", "-it", "aa", "sh"]);
    seat.sees("# ");
    seat.types(b"\x10\x11");
    seat.leaves();
    assert!(seat.is_sane());
    let with = home.run(&["exec", "-t", "aa", "sh", "-c", "test -t 1 && echo yes"]);
    assert_eq!(with.ok(), "yes");
}

#[test]
fn the_size_follows_the_window() {
    let Some(home) = home() else { return };
    let follow = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done";
    let mut seat = script(&home, "aa", follow);
    seat.sees("33 101");
    seat.resize(20, 40);
    seat.sees("20 40");
    let mut other = Seat::take(&home, &["exec", "-it", "aa", "sh", "-c", follow]);
    other.sees("33 101");
    other.resize(21, 41);
    other.sees("21 41");
    seat.types(b"\x10\x11");
    assert_eq!(seat.leaves(), 0);
    let mut seat = Seat::take(&home, &["attach", "aa"]);
    seat.sees("33 101");
    seat.resize(22, 42);
    seat.sees("22 42");
    home.run(&["rm", "-f", "aa"]).ok();
    assert_eq!(seat.leaves(), 137);
    assert!(seat.is_sane());
    assert_eq!(other.leaves(), 137);
    assert!(other.is_sane());
}
