//! Log drivers.

use super::base::{home, until, up};

#[test]
fn logs_turn_over_and_keep_the_newest() {
    let Some(home) = home() else { return };
    let run = |name: &str, options: &[&str]| {
        let mut words = vec!["run", "--network", "none", "--name", name];
        words.extend(options);
        words.extend(["busybox", "seq", "1", "5000"]);
        home.run(&words).ok();
        let text = home.run(&["logs", name]).ok().to_owned();
        text.lines()
            .map(|line| line.parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let kept = run(
        "aa",
        &["--log-opt", "max-size=20k", "--log-opt", "max-file=3"],
    );
    assert_eq!(kept.last(), Some(&5000));
    assert!(
        kept.len() < 4900 && kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{}",
        kept.len()
    );
    let options = [
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "--log-opt",
        "compress=true",
    ];
    let kept = run("bb", &options);
    assert!(kept.last() == Some(&5000) && kept.len() < 4900);
    assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    let tail = home
        .run(&["logs", "--tail", "700", "aa"])
        .ok()
        .lines()
        .count();
    assert!(tail <= 700 && tail > 0);
}

#[test]
fn some_drivers_cannot_be_read_and_details_are_shown() {
    let Some(home) = home() else { return };
    home.run(&[
        "run",
        "--network",
        "none",
        "--log-driver",
        "none",
        "--name",
        "aa",
        "busybox",
        "echo",
        "x",
    ])
    .ok();
    home.run(&["logs", "aa"])
        .fails(1, "does not support reading");
    home.run(&["create", "--log-driver", "nosuch", "busybox"])
        .fails(1, "no log driver named");
    home.run(&["create", "--log-opt", "nosuch=1", "busybox"])
        .fails(1, "unknown log opt");
    up(
        &home,
        "bb",
        &["--log-opt", "labels=a", "-l", "a=1"],
        "echo x; sleep 600",
    );
    until("a line", || !home.run(&["logs", "bb"]).ok().is_empty());
    assert_eq!(home.run(&["logs", "--details", "bb"]).ok(), "a=1 x");
}
