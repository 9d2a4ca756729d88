//! However it ends: the terminal is as it was.

use rustix::process::{Pid, Signal, kill_process};

use super::super::base::{home, of, until, up};
use super::{script, shell};
use crate::support::{Home, Seat};

#[test]
fn programs_that_draw_leave_a_sane_terminal() {
    let Some(home) = home() else { return };
    let run = |words: &[&str]| {
        let flags = ["run", "--rm", "-it", "--network", "none", "busybox"];
        Seat::take(&home, &[&flags, words].concat())
    };
    let mut seat = run(&["sh", "-c", "vi /tmp/x; cat /tmp/x"]);
    seat.sees("~");
    seat.types("ihello");
    seat.sees("hello");
    // Alone, or it would begin the name of a key.
    seat.types("\x1b");
    seat.sees("- /tmp/x");
    seat.types(":wq\n");
    seat.sees("hello\r\n");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
    let mut seat = run(&["top"]);
    seat.sees("PID");
    seat.resize(20, 60);
    seat.types("q");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
    let mut seat = run(&["less", "/etc/passwd"]);
    seat.sees("root:x:0:0");
    seat.types("q");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
}

/// Ends the container in some way while somebody sits at it.
fn at_the_end(home: &Home, end: impl FnOnce()) -> i32 {
    let flags = ["run", "-it", "--name", "aa", "--network", "none"];
    let mut seat = Seat::take(home, &[&flags[..], &["busybox", "vi", "/tmp/x"]].concat());
    seat.sees("~");
    assert!(seat.is_raw());
    end();
    let code = seat.leaves();
    assert!(seat.is_sane());
    home.run(&["rm", "-f", "aa"]);
    code
}

#[test]
fn a_container_that_is_killed_leaves_a_sane_terminal() {
    let Some(home) = home() else { return };
    let of_host = || {
        let pid = of(&home, "aa", "/State/Pid").as_i64().unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    };
    assert_eq!(at_the_end(&home, of_host), 137);
    let stop = || drop(home.run(&["stop", "-t", "0", "aa"]));
    assert_eq!(at_the_end(&home, stop), 137);
    let remove = || drop(home.run(&["rm", "-f", "aa"]));
    assert_eq!(at_the_end(&home, remove), 137);
}

#[test]
fn signals_to_run_are_the_programs() {
    let Some(home) = home() else { return };
    let trap = "trap 'echo got TERM; exit 5' TERM; trap 'echo got HUP' HUP; \
                trap 'echo got INT' INT; echo up; while :; do sleep 0.1; done";
    let mut seat = script(&home, "aa", trap);
    seat.sees("up");
    seat.signal(Signal::HUP);
    seat.sees("got HUP");
    seat.signal(Signal::INT);
    seat.sees("got INT");
    seat.signal(Signal::TERM);
    seat.sees("got TERM");
    assert_eq!(seat.leaves(), 5);
    assert!(seat.is_sane());
    // Where they are not passed on, they end the command alone.
    let flags = ["run", "-it", "--sig-proxy=false", "--network", "none"];
    let words = [&flags[..], &["--name", "bb", "busybox", "vi"]].concat();
    let mut seat = Seat::take(&home, &words);
    seat.sees("~");
    seat.signal(Signal::TERM);
    assert_eq!(seat.leaves(), 143);
    assert!(seat.is_sane());
    assert_eq!(of(&home, "bb", "/State/Running"), true);
}

#[test]
fn signals_to_attach_and_exec_end_them_alone() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["-it"], "exec sh");
    for (words, signal, code) in [
        (&["attach", "aa"][..], Signal::TERM, 143),
        (&["attach", "aa"], Signal::HUP, 129),
        (&["exec", "-it", "aa", "sh"], Signal::TERM, 143),
        (&["exec", "-it", "aa", "sh"], Signal::INT, 130),
        (&["start", "-ai", "aa"], Signal::QUIT, 131),
    ] {
        let mut seat = Seat::take(&home, words);
        seat.sees("# ");
        until("raw mode", || seat.is_raw());
        seat.signal(signal);
        assert_eq!(seat.leaves(), code, "{words:?}");
        assert!(seat.is_sane(), "{words:?}");
    }
    assert_eq!(of(&home, "aa", "/State/Running"), true);
}

#[test]
fn a_terminal_that_is_closed_takes_the_command_along() {
    let Some(home) = home() else { return };
    let mut seat = shell(&home, "aa");
    seat.close();
    assert_ne!(seat.leaves(), 0);
    assert_eq!(of(&home, "aa", "/State/Running"), true);
    let mut seat = Seat::take(&home, &["attach", "aa"]);
    seat.sees("# ");
    seat.close();
    assert_ne!(seat.leaves(), 0);
    assert_eq!(of(&home, "aa", "/State/Running"), true);
    // The same for a reader: the program goes on, and so does its log.
    let pipe = ["run", "--name", "bb", "--network", "none", "busybox"];
    let mut command = home.command(
        &[
            &pipe[..],
            &["sh", "-c", "while :; do echo y; sleep 0.1; done"],
        ]
        .concat(),
    );
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(of(&home, "bb", "/State/Running"), true);
}

#[test]
fn restarts_keep_the_terminal() {
    let Some(home) = home() else { return };
    let flags = [
        "run",
        "-dit",
        "--restart",
        "on-failure:3",
        "--network",
        "none",
    ];
    let words = [
        "--name",
        "aa",
        "busybox",
        "sh",
        "-c",
        "echo up; read x; exit 4",
    ];
    home.run(&[&flags[..], &words].concat()).ok();
    // Between two runs there is nothing to attach to for a moment.
    while of(&home, "aa", "/State/Status") != "exited" {
        let mut seat = Seat::take(&home, &["attach", "aa"]);
        seat.types("\n");
        seat.leaves();
        assert!(seat.is_sane());
    }
    assert_eq!(of(&home, "aa", "/RestartCount"), 3);
}
