//! Names that stand for images of several platforms.

use serde_json::Value;

use super::home;
use crate::support::Home;

/// Builds an image for two platforms under a name.
fn two_platforms(home: &Home, name: &str) {
    home.file("context/amd64", "a");
    home.file("context/arm64", "other");
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n";
    let dockerfile = home.file("context/Dockerfile", dockerfile);
    let context = dockerfile.parent().unwrap().to_str().unwrap();
    let platforms = "linux/amd64,linux/arm64";
    home.run(&["build", "--platform", platforms, "-t", name, context])
        .ok();
}

fn architecture(home: &Home, name: &str, platform: &str) -> (String, String) {
    let words = ["image", "inspect", "--platform", platform, name];
    let text = home.run(&words).ok().to_owned();
    let shown: Value = serde_json::from_str(&text).unwrap();
    let text = |key: &str| shown[0][key].as_str().unwrap().to_owned();
    (text("Architecture"), text("Id"))
}

#[test]
fn one_platform_of_a_name_is_asked_for() {
    let Some(home) = home() else { return };
    two_platforms(&home, "two");
    let (amd, amd_id) = architecture(&home, "two", "linux/amd64");
    let (arm, arm_id) = architecture(&home, "two", "linux/arm64");
    assert_eq!((amd.as_str(), arm.as_str()), ("amd64", "arm64"));
    assert_ne!(amd_id, arm_id);
    home.run(&["image", "inspect", "--platform", "linux/s390x", "two"])
        .fails(
            1,
            "(linux/amd64, linux/arm64) does not match the specified platform (linux/s390x)",
        );
    home.run(&["history", "--platform", "linux/s390x", "busybox"])
        .fails(1, "does not match the specified platform");
    let first = home.run(&[
        "history",
        "-q",
        "--no-trunc",
        "--platform",
        "linux/arm64",
        "two",
    ]);
    assert!(first.ok().starts_with(&arm_id), "{first:?}");

    let tree = home.run(&["images", "--tree", "two"]).ok().to_owned();
    for part in [
        "IMAGE ",
        "DISK USAGE",
        "two:latest ",
        "├─ linux/amd64 ",
        "└─ linux/arm64 ",
    ] {
        assert!(tree.contains(part), "{part} in {tree}");
    }
    assert_eq!(tree.matches("two:latest").count(), 1);
    let listed = home.run(&["image", "ls", "--tree"]).ok().to_owned();
    assert!(listed.contains("busybox:latest"), "{listed}");
    home.run(&["images", "--tree", "-q"])
        .fails(1, "--quiet is not yet supported with --tree");

    // An archive of one platform, and one of both of which one is taken.
    let one = home
        .run(&["save", "--platform", "linux/arm64", "two"])
        .stdout;
    let both = home.run(&["save", "two"]).stdout;
    home.run(&["save", "--platform", "linux/s390x", "two"])
        .fails(1, "does not match");
    for archive in [&one, &both] {
        home.run(&["rmi", "two"]).ok();
        home.run_with(&["load", "--platform", "linux/s390x"], archive)
            .fails(1, "it has no image for linux/s390x");
        let loaded = home.run_with(&["load", "--platform", "linux/arm64"], archive);
        assert_eq!(loaded.ok(), "Loaded image: two:latest");
        assert_eq!(architecture(&home, "two", "linux/arm64").1, arm_id);
        home.run(&["image", "inspect", "--platform", "linux/amd64", "two"])
            .fails(1, "(linux/arm64) does not match");
    }

    // One is taken away, and then the other with the name.
    home.run_with(&["load"], &both).ok();
    home.run(&["rmi", "--platform", "linux/s390x", "two"])
        .fails(1, "does not match");
    let gone = home.run(&["rmi", "--platform", "linux/amd64", "two"]);
    assert_eq!(gone.ok(), format!("Deleted: {amd_id}"));
    let left = home.run(&["image", "inspect", "-f", "{{.Id}}", "two"]);
    assert_eq!(left.ok(), arm_id);
    let words = [
        "image",
        "rm",
        "--no-prune",
        "--platform",
        "linux/arm64",
        "two",
    ];
    let gone = home.run(&words);
    assert_eq!(
        gone.ok(),
        format!("Untagged: two:latest\nDeleted: {arm_id}")
    );
}
