//! `events`

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{home, up};
use crate::support::Home;

fn past(home: &Home, flags: &[&str]) -> Vec<String> {
    let until = (jiff::Timestamp::now().as_second() + 1).to_string();
    let mut words = vec!["events", "--since", "1", "--until", until.as_str()];
    words.extend(flags);
    let text = home.run(&words).ok().to_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_containers_life_is_told_in_order() {
    let Some(home) = home() else { return };
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "--name",
        "ct",
        "-l",
        "a=b",
        "busybox",
        "sh",
        "-c",
        "exit 3",
    ];
    home.run(&run).fails(3, "");
    let actions = past(
        &home,
        &["--filter", "container=ct", "--format", "{{.Action}}"],
    );
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
    let die = past(&home, &["--filter", "event=die", "--format", "json"]);
    let die: Value = serde_json::from_str(&die[0]).unwrap();
    let attributes = &die["Actor"]["Attributes"];
    assert_eq!(attributes["exitCode"], "3");
    assert_eq!(
        (&attributes["name"], &attributes["image"]),
        (&Value::from("ct"), &Value::from("busybox"))
    );
    assert_eq!(
        (&die["status"], &die["from"]),
        (&Value::from("die"), &Value::from("busybox"))
    );
    assert_eq!(
        past(&home, &["--filter", "label=a=b", "--filter", "event=start"]).len(),
        1
    );
    assert_eq!(past(&home, &["--filter", "label=a=c"]).len(), 0);
    let line = &past(&home, &["--filter", "event=start"])[0];
    assert!(
        line.contains(" container start ") && line.ends_with("(a=b, image=busybox, name=ct)"),
        "{line}"
    );
    home.run(&["events", "--filter", "nosuch=1", "--until", "1"])
        .fails(1, "invalid filter 'nosuch'");
    home.run(&["events", "--since", "whenever"])
        .fails(1, "invalid time");
    home.run(&["events", "--format", "{{.Nope", "--until", "1"])
        .fails(64, "unclosed action");
}

#[test]
fn verbs_leave_their_events() {
    let Some(home) = home() else { return };
    up(&home, "ct", &["-v", "data:/d"]);
    home.run(&["exec", "ct", "true"]).ok();
    home.run(&["rename", "ct", "dt"]).ok();
    home.run(&["kill", "dt"]).ok();
    home.run(&["rm", "dt"]).ok();
    home.run(&["volume", "rm", "data"]).ok();
    home.run(&["tag", "busybox", "other:1"]).ok();
    home.run(&["rmi", "other:1"]).ok();
    let all = past(&home, &["--format", "{{.Type}} {{.Action}}"]);
    for one in [
        "image load",
        "volume create",
        "container create",
        "container start",
        "container exec_create: true",
        "container exec_start: true",
        "container exec_die",
        "container rename",
        "container kill",
        "container die",
        "container destroy",
        "volume destroy",
        "image tag",
        "image untag",
        "volume mount",
        "volume unmount",
    ] {
        assert!(all.iter().any(|line| line == one), "{one} in {all:?}");
    }
    let names = past(
        &home,
        &[
            "--filter",
            "event=destroy",
            "--filter",
            "type=container",
            "--format",
            "{{.Actor.Attributes.name}}",
        ],
    );
    assert_eq!(names, ["dt"]);
    let signal = past(
        &home,
        &[
            "--filter",
            "event=kill",
            "--format",
            "{{.Actor.Attributes.signal}}",
        ],
    );
    assert_eq!(signal, ["9"]);
}

#[test]
fn events_are_told_as_they_happen() {
    let Some(home) = home() else { return };
    let mut follow = home
        .command(&[
            "events",
            "--filter",
            "type=volume",
            "--format",
            "{{.Action}} {{.Actor.ID}}",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let made = |name: &str| drop(home.run(&["volume", "create", name]).ok().to_owned());
    // The follower may need a moment to start: what was made before is not told.
    let (send, seen) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let first = lines.next().unwrap().unwrap();
        send.send(()).unwrap();
        first
    });
    for number in 0..200 {
        made(&format!("v{number}"));
        if seen
            .recv_timeout(std::time::Duration::from_millis(50))
            .is_ok()
        {
            break;
        }
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert!(reader.join().unwrap().starts_with("create v"));
}
