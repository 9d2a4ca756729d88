//! How objects are shown and chosen, and volumes, from end to end.

mod compatibility;
mod completion;
mod events;
mod formats;
mod mounts;
mod platforms;
mod prune;
mod rows;
mod volumes;

use crate::support::{Home, Need, needs};

/// A data root with busybox; `None` where containers cannot run.
fn home() -> Option<Home> {
    needs(&[Need::Root, Need::Busybox, Need::Overlay]).then(Home::with_busybox)
}

/// Runs a script in a container that goes at its end, and returns what it printed.
#[track_caller]
fn sh(home: &Home, flags: &[&str], script: &str) -> String {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", script]);
    home.run(&words).ok().to_owned()
}

/// Starts `sleep 600` in the background; returns the ID.
#[track_caller]
fn up(home: &Home, name: &str, flags: &[&str]) -> String {
    let mut words = vec!["run", "-d", "--network", "none", "--name", name];
    words.extend(flags);
    words.extend(["busybox", "sleep", "600"]);
    home.run(&words).ok().to_owned()
}
