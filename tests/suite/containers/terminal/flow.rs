//! What flows through a terminal: much, strange letters, and from several sides.

use super::super::base::{home, of, up};
use super::{script, shell};
use crate::support::Seat;

#[test]
fn letters_of_the_world_and_a_long_text_arrive() {
    let Some(home) = home() else { return };
    let mut seat = shell(&home, "aa");
    seat.types("echo \"grüße-日本-🦀\" | od -An -tx1 | head -1\n");
    seat.sees("67 72 c3 bc c3 9f 65 2d e6 97 a5 e6 9c ac 2d f0");
    seat.sees("# ");
    // A paste: 100 kB in lines, as fast as the terminal takes it.
    let line = format!("{}\n", "0123456789".repeat(9));
    let text = line.repeat(1100);
    seat.types("stty -echo; cat > /pasted; stty echo; md5sum < /pasted; wc -c < /pasted\n");
    seat.sees("\r\n");
    super::super::base::until("cat", || {
        let top = home.run(&["top", "aa", "-o", "pid,comm"]);
        top.ok().contains("cat")
    });
    seat.types(&text);
    seat.types(b"\x04");
    seat.sees(&text.len().to_string());
    let counted = home.run(&["exec", "aa", "md5sum", "/pasted"]);
    let own = home.run_with(&["exec", "-i", "aa", "md5sum"], text.as_bytes());
    let sum = |text: &str| text.split(' ').next().unwrap().to_owned();
    assert_eq!(sum(counted.ok()), sum(own.ok()));
    seat.types("exit\n");
    assert_eq!(seat.leaves(), 0);
}

#[test]
fn a_flood_is_stopped_by_a_key() {
    let Some(home) = home() else { return };
    let mut seat = shell(&home, "aa");
    seat.types("yes flood\n");
    for _ in 0..1000 {
        seat.sees("flood\r\n");
    }
    seat.types(b"\x03");
    seat.types("echo c$((1+1))d\n");
    seat.sees("c2d");
    seat.types("yes again\n");
    seat.sees("again\r\nagain");
    // Leaving works just so, and the next one sees the flood, too.
    seat.types(b"\x10\x11");
    assert_eq!(seat.leaves(), 0);
    assert!(seat.is_sane());
    let mut seat = Seat::take(&home, &["attach", "aa"]);
    seat.sees("again\r\nagain");
    home.run(&["kill", "aa"]).ok();
    assert_eq!(seat.leaves(), 137);
    assert!(seat.is_sane());
}

#[test]
fn two_sit_at_one_terminal() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["-it"], "exec sh");
    let mut one = Seat::take(&home, &["attach", "aa"]);
    one.sees("# ");
    let mut two = Seat::take(&home, &["attach", "aa"]);
    two.sees("# ");
    one.types("echo from-one-$((2*3))\n");
    one.sees("from-one-6");
    two.sees("from-one-6");
    two.types("echo from-two-$((2*4))\n");
    one.sees("from-two-8");
    two.sees("from-two-8");
    one.types(b"\x10\x11");
    assert_eq!(one.leaves(), 0);
    two.types("exit 3\n");
    assert_eq!(two.leaves(), 3);
    assert!(one.is_sane() && two.is_sane());
}

#[test]
fn a_terminal_on_one_side_alone() {
    let Some(home) = home() else { return };
    let it = ["run", "--rm", "--network", "none", "-it", "busybox", "tty"];
    home.run(&it).fails(1, "the input device is not a TTY");
    up(&home, "aa", &["-it"], "exec sh");
    home.run(&["exec", "-it", "aa", "tty"])
        .fails(1, "the input device is not a TTY");
    home.run(&["attach", "aa"])
        .fails(1, "the input device is not a TTY");
    assert_eq!(of(&home, "aa", "/State/Running"), true);
    // A terminal inside, and none outside: its line ends show.
    let t = ["run", "--rm", "--network", "none", "-t", "busybox", "tty"];
    assert_eq!(home.run(&t).stdout, b"/dev/pts/0\r\n");
    assert_eq!(
        home.run(&["exec", "-t", "aa", "tty"]).stdout,
        b"/dev/pts/1\r\n"
    );
    // None inside, and one outside: that one stays as it is.
    let words = ["run", "--rm", "-i", "--network", "none", "busybox", "sh"];
    let mut seat = Seat::take(&home, &words);
    seat.types("tty; echo $((40+2))\n");
    seat.sees("not a tty");
    seat.sees("42");
    assert!(!seat.is_raw());
    seat.types(b"\x04");
    // The code of `tty` is not the last one.
    assert_eq!(seat.leaves(), 0);
    let words = ["run", "--rm", "-t", "--network", "none", "busybox"];
    let mut seat = Seat::take(
        &home,
        &[&words[..], &["sh", "-c", "echo up; exec sleep 600"]].concat(),
    );
    seat.sees("up");
    assert!(!seat.is_raw());
    drop(seat);
    for id in home.run(&["ps", "-q"]).ok().lines() {
        home.run(&["rm", "-f", id]).ok();
    }
}

#[test]
fn standard_error_and_output_are_one_at_a_terminal() {
    let Some(home) = home() else { return };
    let mut seat = script(&home, "aa", "echo out; echo err >&2; printf 'a\\tb\\n'");
    seat.sees("out\r\nerr\r\na\tb\r\n");
    assert_eq!(seat.leaves(), 0);
    let logs = home.run(&["logs", "aa"]);
    assert_eq!(logs.stdout, b"out\r\nerr\r\na\tb\r\n");
    assert_eq!(logs.stderr, "");
}
