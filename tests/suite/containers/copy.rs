//! `cp`, `diff`, `commit`, `export`.

use std::os::unix::fs::MetadataExt;

use super::base::{exec, home, of, until_state, up};
use crate::support::run_piped;

#[test]
fn files_and_directories_go_in_and_out() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let file = home.file("one", "1\n");
    let file = file.to_str().unwrap();
    let into = home.run(&["cp", file, "aa:/tmp"]);
    assert!(
        into.stderr
            .contains("Successfully copied 2.05kB to aa:/tmp"),
        "{}",
        into.stderr
    );
    home.run(&["cp", "-q", file, "aa:/tmp/two"]).ok();
    assert_eq!(
        exec(&home, "aa", "cat /tmp/one /tmp/two; stat -c %u:%g /tmp/one"),
        "1\n1\n0:0"
    );
    home.run(&["cp", file, "aa:/no/such/"])
        .fails(1, "no such directory");
    home.run(&["cp", file, "aa:/no/such"])
        .fails(1, "Could not find the file /no");
    exec(
        &home,
        "aa",
        "mkdir -p /d/e; echo x > /d/e/f; ln -s f /d/e/l; ln -s /d/e/f /l; chown 7:8 /d/e/f",
    );
    let out = home.scratch();
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    home.run(&["cp", "aa:/d", &path("new")]).ok();
    assert_eq!(std::fs::read_to_string(out.join("new/e/f")).unwrap(), "x\n");
    assert_eq!(
        std::fs::read_link(out.join("new/e/l")).unwrap().to_str(),
        Some("f")
    );
    assert_eq!(std::fs::metadata(out.join("new/e/f")).unwrap().uid(), 0);
    home.run(&["cp", "aa:/d/.", &path("new")]).ok();
    assert!(out.join("new/e/f").is_file() && !out.join("new/d").exists());
    home.run(&["cp", "-a", "aa:/d/e/f", &path("owned")]).ok();
    assert_eq!(std::fs::metadata(out.join("owned")).unwrap().uid(), 7);
    home.run(&["cp", "aa:/l", &path("link")]).ok();
    assert_eq!(
        std::fs::read_link(out.join("link")).unwrap().to_str(),
        Some("/d/e/f")
    );
    home.run(&["cp", "-L", "aa:/l", &path("target")]).ok();
    assert!(
        std::fs::symlink_metadata(out.join("target"))
            .unwrap()
            .is_file()
    );
    home.run(&["cp", "aa:/d", file])
        .fails(1, "cannot copy directory");
    home.run(&["cp", "aa:/nosuch", &path("x")])
        .fails(1, "Could not find the file /nosuch in container aa");
    home.run(&["cp", "aa:/d", "aa:/x"])
        .fails(1, "copying between containers is not supported");
    home.run(&["cp", "x", "y"])
        .fails(1, "must specify at least one container source");
}

#[test]
fn archives_go_through_standard_streams() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let out = home.run(&["cp", "aa:/etc/passwd", "-"]);
    let listed = run_piped("tar", &["-tf", "-"], &out.stdout);
    assert_eq!(String::from_utf8_lossy(&listed), "passwd\n");
    let into = home.run_with(&["cp", "-", "aa:/tmp"], &out.stdout);
    into.ok();
    assert!(exec(&home, "aa", "cat /tmp/passwd").contains("root:"));
    home.run_with(
        &["cp", "-", "aa:/tmp"],
        b"no archive".repeat(200).as_slice(),
    )
    .fails(1, "");
    home.run_with(&["cp", "-", "aa:/etc/passwd"], &out.stdout)
        .fails(1, "must be a directory");
}

#[test]
fn links_inside_lead_nowhere_outside() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let secret = home.file("secret", "host");
    let outside = secret.parent().unwrap().to_str().unwrap();
    exec(
        &home,
        "aa",
        &format!(
            "ln -s {outside} /out; ln -s ../../../../../../{outside} /up; ln -s /proc/1/root/tmp /magic"
        ),
    );
    let file = home.file("mine", "mine");
    let file = file.to_str().unwrap();
    for place in ["/out", "/up"] {
        // The link's target is no directory in the container.
        home.run(&["cp", file, &format!("aa:{place}/mine2")])
            .fails(1, "");
    }
    assert!(!secret.with_file_name("mine2").exists());
    home.run(&[
        "cp",
        &format!("aa:{outside}/secret"),
        home.scratch().to_str().unwrap(),
    ])
    .fails(1, "Could not find");
    home.run(&["cp", file, "aa:/../../../../tmp/clamped"]).ok();
    assert_eq!(exec(&home, "aa", "cat /tmp/clamped"), "mine");
}

#[test]
fn a_resting_container_takes_files_too_and_its_volumes_with_it() {
    let Some(home) = home() else { return };
    let words = [
        "create",
        "--name",
        "aa",
        "--network",
        "none",
        "-v",
        "/vol",
        "busybox",
        "cat",
        "/f",
        "/vol/g",
    ];
    home.run(&words).ok();
    let file = home.file("x", "content\n");
    home.run(&["cp", file.to_str().unwrap(), "aa:/f"]).ok();
    home.run(&["cp", file.to_str().unwrap(), "aa:/vol/g"]).ok();
    assert_eq!(home.run(&["start", "-a", "aa"]).ok(), "content\ncontent");
    until_state(&home, "aa", "exited");
    let back = home.run(&["cp", "aa:/vol/g", "-"]);
    assert!(back.stdout.windows(8).any(|bytes| bytes == b"content\n"));
}

#[test]
fn changes_are_listed() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    assert_eq!(home.run(&["diff", "aa"]).ok(), "");
    exec(
        &home,
        "aa",
        "echo 1 > /new; mkdir -p /d/e; echo x >> /etc/passwd; rm /etc/group; touch /x; rm /x",
    );
    let diff = home.run(&["diff", "aa"]);
    assert_eq!(
        diff.ok(),
        "A /d\nA /d/e\nC /etc\nD /etc/group\nC /etc/passwd\nA /new"
    );
    exec(
        &home,
        "aa",
        "rm -r /etc/network 2>/dev/null; rm -rf /root; mkdir /root",
    );
    home.run(&["stop", "-t", "0", "aa"]).ok();
    assert!(home.run(&["diff", "aa"]).ok().contains("C /root"));
    home.run(&["diff", "zz"]).fails(1, "No such container: zz");
}

#[test]
fn a_container_becomes_an_image() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["-e", "A=1", "-v", "/vol"], "sleep 600");
    exec(
        &home,
        "aa",
        "echo kept > /kept; rm /etc/group; echo not > /vol/not",
    );
    let committed = home.run(&[
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\",\"/kept\"]",
        "-c",
        "ENV B=2",
        "-c",
        "ENTRYPOINT []",
        "aa",
        "img:1",
    ]);
    assert!(committed.ok().starts_with("sha256:"));
    assert_eq!(of(&home, "aa", "/State/Status"), "running");
    assert_eq!(
        home.run(&["run", "--rm", "--network", "none", "img:1"])
            .ok(),
        "kept"
    );
    let script = "echo $A$B; ls /etc/group /vol; true";
    let run = home.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "img:1",
        "sh",
        "-c",
        script,
    ]);
    assert!(run.ok().starts_with("12\n/vol:"), "{}", run.text());
    let image = super::base::inspect(&home, "img:1");
    assert_eq!(
        (image["Author"].as_str(), image["Comment"].as_str()),
        (Some("me"), Some("why"))
    );
    home.run(&["commit", "-c", "RUN x", "aa", "img:2"])
        .fails(1, "");
    home.run(&["commit", "zz", "img:3"])
        .fails(1, "No such container: zz");
}

#[test]
fn the_file_system_is_exported_without_what_is_mounted() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["-v", "/vol"], "");
    exec(&home, "aa", "echo 1 > /mine; echo 2 > /vol/x");
    let names = |bytes: &[u8]| {
        String::from_utf8_lossy(&run_piped("tar", &["-tf", "-"], bytes)).into_owned()
    };
    let live = names(&home.run(&["export", "aa"]).stdout);
    home.run(&["stop", "-t", "0", "aa"]).ok();
    let path = home.scratch().join("x.tar");
    home.run(&["export", "-o", path.to_str().unwrap(), "aa"])
        .ok();
    let resting = names(&std::fs::read(path).unwrap());
    assert_eq!(live, resting);
    for (name, there) in [
        ("mine\n", true),
        ("etc/passwd\n", true),
        ("vol/x\n", false),
        ("proc/1/\n", false),
    ] {
        assert_eq!(live.contains(name), there, "{name}");
    }
    home.run(&["export", "zz"])
        .fails(1, "No such container: zz");
}
