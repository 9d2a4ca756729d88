//! What these tests share.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Need, Outcome, needs};

/// How long anything here may take at most on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A data root with busybox; `None` where containers cannot run.
pub(super) fn home() -> Option<Home> {
    needs(&[Need::Root, Need::Busybox, Need::Overlay]).then(Home::with_busybox)
}

/// `run --rm --network none FLAGS busybox sh -c SCRIPT`.
pub(super) fn sh(home: &Home, flags: &[&str], script: &str) -> Outcome {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", script]);
    home.run(&words)
}

/// Starts `sleep 600`, or a script, in the background.
pub(super) fn up(home: &Home, name: &str, flags: &[&str], script: &str) {
    let mut words = vec!["run", "-d", "--network", "none", "--name", name];
    words.extend(flags);
    words.push("busybox");
    if script.is_empty() {
        words.extend(["sleep", "600"]);
    } else {
        words.extend(["sh", "-c", script]);
    }
    home.run(&words).ok();
}

/// Runs a script in a container.
pub(super) fn exec(home: &Home, name: &str, script: &str) -> String {
    home.run(&["exec", name, "sh", "-c", script])
        .ok()
        .to_owned()
}

/// What `inspect` says.
pub(super) fn inspect(home: &Home, name: &str) -> Value {
    let text = home.run(&["inspect", name]).ok().to_owned();
    let mut list: Vec<Value> = serde_json::from_str(&text).unwrap();
    list.remove(0)
}

/// One member of what `inspect` says, by a JSON pointer.
pub(super) fn of(home: &Home, name: &str, pointer: &str) -> Value {
    inspect(home, name)
        .pointer(pointer)
        .cloned()
        .unwrap_or(Value::Null)
}

/// Waits until `done` says so.
#[track_caller]
pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a container has this state.
#[track_caller]
pub(super) fn until_state(home: &Home, name: &str, state: &str) {
    until(state, || of(home, name, "/State/Status") == state);
}
