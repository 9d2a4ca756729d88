//! The prunes: what goes, what stays, what is asked.

use super::{home, up};

#[test]
fn nothing_goes_without_a_yes() {
    let Some(home) = home() else { return };
    home.run(&["create", "--name", "ct", "busybox"]).ok();
    for (kind, part) in [
        ("container", "all stopped containers."),
        ("image", "all dangling images."),
        (
            "volume",
            "anonymous local volumes not used by at least one container.",
        ),
        (
            "system",
            "  - all stopped containers\n  - all networks not used by at least one container\n  - all dangling images\n  - unused build cache\n",
        ),
    ] {
        let asked = home.run_with(&[kind, "prune"], b"n\n");
        let text = asked.ok();
        assert!(
            text.starts_with("WARNING! This will remove") && text.contains(part),
            "{text}"
        );
        assert!(
            text.contains("Are you sure you want to continue? [y/N]"),
            "{text}"
        );
    }
    let asked = home.run_with(
        &["system", "prune", "-a", "--volumes", "--filter", "label=a"],
        b"n\n",
    );
    for part in [
        "all anonymous volumes not",
        "all build cache",
        "will be filtered with:\n  - label=a",
    ] {
        assert!(asked.ok().contains(part), "{asked:?}");
    }
    assert_eq!(home.run(&["ps", "-aq"]).ok().lines().count(), 1);
    home.run_with(&["container", "prune"], b"y\n").ok();
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
}

#[test]
fn system_prune_takes_what_nothing_uses() {
    let Some(home) = home() else { return };
    up(&home, "up", &["-v", "data:/d"]);
    home.run(&[
        "create", "--name", "old", "-l", "keep", "-v", "/x", "busybox",
    ])
    .ok();
    home.run(&["create", "--name", "new", "-v", "/x", "busybox"])
        .ok();
    home.run(&["container", "prune", "-f", "--filter", "label!=keep"])
        .ok();
    let names = ["ps", "-a", "--format", "{{.Names}}"];
    assert_eq!(home.run(&names).ok(), "old\nup");
    home.run(&["system", "prune", "-f", "--filter", "until=1h"])
        .ok();
    assert_eq!(home.run(&names).ok(), "old\nup");
    let wrong = ["system", "prune", "-f", "--volumes", "--filter", "until=1h"];
    home.run(&wrong)
        .fails(1, "\"until\" filter is not supported");
    let pruned = home.run(&["system", "prune", "-f", "--volumes"]);
    let text = pruned.ok();
    for part in [
        "Deleted Containers:",
        "Deleted Volumes:",
        "Total reclaimed space: ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(home.run(&names).ok(), "up");
    assert_eq!(home.run(&["volume", "ls", "-q"]).ok(), "data");
    assert_eq!(home.run(&["images", "-q"]).ok().lines().count(), 1);
}
