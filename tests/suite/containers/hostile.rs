//! Requests and images that are too large, malformed or mean harm.

use serde_json::{Value, json};

use super::base::{home, of, sh, up};
use crate::support::{Home, busybox_archive};

#[test]
fn what_is_large_works_until_the_kernel_says_no() {
    let Some(home) = home() else { return };
    let lines = |count: usize, line: &dyn Fn(usize) -> String| {
        (0..count).map(line).collect::<Vec<_>>().join("\n")
    };
    let many = home.file(
        "many",
        lines(5_000, &|n| format!("VAR{n}={}", "x".repeat(60))),
    );
    let labels = home.file("labels", lines(10_000, &|n| format!("label{n}=value{n}")));
    let long = home.file("long", format!("LONG={}", "y".repeat(200_000)));
    let (many, labels, long) = (
        many.to_str().unwrap(),
        labels.to_str().unwrap(),
        long.to_str().unwrap(),
    );
    up(
        &home,
        "big",
        &["--env-file", many, "--label-file", labels],
        "",
    );
    // An exec hands the whole environment on.
    let count = home.run(&["exec", "big", "sh", "-c", "env | grep -c ^VAR"]);
    assert_eq!(count.ok(), "5000");
    assert_eq!(
        home.run(&["ps", "-q", "--filter", "label=label7777=value7777"])
            .ok()
            .lines()
            .count(),
        1
    );
    assert_eq!(of(&home, "big", "/Config/Labels/label9999"), "value9999");
    let words: Vec<String> = (0..30_000).map(|n| n.to_string()).collect();
    let mut all = vec!["exec", "big", "echo"];
    all.extend(words.iter().map(String::as_str));
    assert_eq!(home.run(&all).ok(), words.join(" "));
    let left = std::fs::read_dir(
        home.run_root()
            .join("containers")
            .join(of(&home, "big", "/Id").as_str().unwrap()),
    );
    let left: Vec<_> = left
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["socket"], "an order stayed");
    home.run(&["rm", "-f", "big"]).ok();
    // One text is longer than the kernel takes.
    sh(&home, &["--env-file", long], "true").fails(126, "argument list too long");
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let Some(home) = home() else { return };
    for name in ["../x", "a/b", "a b", ".x", "ä", "x\n", "$(id)", "a"] {
        home.run(&["create", "--name", name, "busybox"])
            .fails(1, "Invalid container name");
    }
    home.run(&["create", "--name", "good", "busybox"]).ok();
    home.run(&["rename", "good", "../bad"])
        .fails(1, "Invalid container name");
    for name in ["../../etc", "%2e%2e", "x/../good"] {
        home.run(&["rm", name]).fails(1, "No such container");
    }
    home.run(&["volume", "create", "../x"])
        .fails(1, "volume name");
    assert_eq!(home.run(&["ps", "-aq"]).ok().lines().count(), 1);
    let host = "h".repeat(300);
    sh(&home, &["--hostname", &host], "true").fails(125, "host name");
    sh(&home, &["--cgroup-parent", "../../x"], "true").fails(125, "cgroup");
    sh(&home, &["-u", "99999999999"], "true").fails(125, "uids and gids must be in range");
    sh(&home, &["-u", "nobody:nosuch"], "true").fails(125, "nosuch");
    sh(&home, &["--group-add", "nosuch"], "true").fails(125, "nosuch");
}

#[test]
fn nothing_is_mounted_over_processes_files() {
    let Some(home) = home() else { return };
    let dir = home.scratch().display().to_string();
    let mounted = |target: &str| sh(&home, &["-v", &format!("{dir}:{target}")], "true");
    mounted("/proc").fails(
        125,
        "\"/proc\" cannot be mounted because it is not of type proc",
    );
    mounted("/proc/sys").fails(125, "cannot be mounted because it is inside /proc");
    mounted("/proc/self/attr").fails(125, "inside /proc");
    mounted("/x/../proc/1").fails(125, "inside /proc");
    sh(&home, &["-v", "/proc"], "true").fails(125, "not of type proc");
    sh(&home, &["--tmpfs", "/proc/irq"], "true").fails(125, "inside /proc");
    // What tells how large the machine is may be told otherwise.
    let file = home.file("uptime", "1 2\n").display().to_string();
    let shown = sh(
        &home,
        &["-v", &format!("{file}:/proc/uptime")],
        "cat /proc/uptime",
    );
    assert_eq!(shown.ok(), "1 2");
    // The host's own may be seen elsewhere, and in its place.
    sh(
        &home,
        &["-v", "/proc:/host/proc:ro"],
        "test -e /host/proc/1",
    )
    .ok();
    sh(
        &home,
        &["--pid", "host", "-v", "/proc:/proc"],
        "test -e /proc/1",
    )
    .ok();
    // A link of the image does not lead there either.
    home.run(&[
        "run",
        "--network",
        "none",
        "--name",
        "maker",
        "busybox",
        "ln",
        "-s",
        "/proc/sys",
        "/link",
    ])
    .ok();
    home.run(&["commit", "maker", "linked"]).ok();
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        &format!("{dir}:/link"),
        "linked",
        "true",
    ];
    home.run(&words).fails(125, "inside /proc");
    home.run(&["rm", "maker"]).ok();
}

/// Loads busybox with another configuration under a name.
fn load(home: &Home, name: &str, change: impl FnOnce(&mut Value)) -> crate::support::Outcome {
    let mut entries = Vec::new();
    let bytes = busybox_archive();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        entries.push((path, content));
    }
    let find = |entries: &[(String, Vec<u8>)], name: &str| {
        entries.iter().position(|(path, _)| path == name).unwrap()
    };
    let at = find(&entries, "manifest.json");
    let mut manifest: Value = serde_json::from_slice(&entries[at].1).unwrap();
    let config_name = manifest[0]["Config"].as_str().unwrap().to_owned();
    let config_at = find(&entries, &config_name);
    let mut config: Value = serde_json::from_slice(&entries[config_at].1).unwrap();
    change(&mut config["config"]);
    let config = config.to_string().into_bytes();
    let digest = rbuild::oci::Digest::of(&config).to_string();
    let new_name = format!("{}.json", digest.trim_start_matches("sha256:"));
    manifest[0]["Config"] = json!(new_name);
    manifest[0]["RepoTags"] = json!([name]);
    entries[config_at] = (new_name, config);
    entries[at].1 = manifest.to_string().into_bytes();
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in entries.iter().filter(|(path, _)| path != "repositories") {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, path, &content[..])
            .unwrap();
    }
    home.run_with(&["load"], &archive.into_inner().unwrap())
}

#[test]
fn an_image_cannot_say_more_than_it_may() {
    let Some(home) = home() else { return };
    let run = |name: &str| home.run(&["run", "--rm", "--network", "none", name]);
    let image = |name: &str, change: &dyn Fn(&mut Value)| {
        load(&home, &format!("{name}:latest"), change).ok();
        run(name)
    };
    image("nul", &|config| {
        config["Entrypoint"] = json!(["/bin/sh\0x", "-c", "true"]);
    })
    .fails(125, "read the arguments");
    image("nulenv", &|config| {
        config["Env"] = json!(["A=1\0B=2", "noequals"]);
        config["Cmd"] = json!(["true"]);
    })
    .fails(125, "read the environment");
    image("user", &|config| {
        config["User"] = json!("../../root:\n0");
        config["Cmd"] = json!(["true"]);
    })
    .fails(125, "unable to find user");
    let up = image("up", &|config| {
        config["WorkingDir"] = json!("/../../../etc/../..");
        config["Cmd"] = json!(["pwd"]);
    });
    assert_eq!(up.ok(), "/");
    image("relative", &|config| {
        config["WorkingDir"] = json!("../x");
        config["Cmd"] = json!(["pwd"]);
    })
    .fails(125, "absolute path");
    image("volume", &|config| {
        config["Volumes"] = json!({ "/proc/sys": {} });
        config["Cmd"] = json!(["true"]);
    })
    .fails(125, "inside /proc");
    let climbing = image("climb", &|config| {
        config["Volumes"] = json!({ "/a/../../../../tmp/../climbed": {} });
        config["Cmd"] = json!(["ls", "-d", "/climbed"]);
    });
    assert_eq!(climbing.ok(), "/climbed");
    assert!(!std::path::Path::new("/climbed").exists());
    image("stop", &|config| {
        config["StopSignal"] = json!("SIGNOSUCH");
        config["Cmd"] = json!(["true"]);
    })
    .fails(125, "SIGNOSUCH");
    // What is no text where a text belongs is refused with the image.
    let wrong = load(&home, "wrong:latest", |config| {
        config["Cmd"] = json!({ "a": 1 });
    });
    assert!(wrong.code != 0 || run("wrong").code == 125, "{wrong:?}");
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
}

#[test]
fn links_as_working_directories_stay_inside() {
    let Some(home) = home() else { return };
    let secret = home.file("secret/file", "s");
    let outside = secret.parent().unwrap().display().to_string();
    let script = format!(
        "ln -s {outside} /out; ln -s ../../../../../../../..{outside} /up; ln -s /proc/self/root /magic"
    );
    home.run(&[
        "run",
        "--network",
        "none",
        "--name",
        "maker",
        "busybox",
        "sh",
        "-c",
        &script,
    ])
    .ok();
    home.run(&["commit", "maker", "linked"]).ok();
    home.run(&["rm", "maker"]).ok();
    let run = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(flags);
        words.extend(["linked", "sh", "-c", "pwd -P; ls"]);
        home.run(&words)
    };
    for link in ["/out", "/up"] {
        assert_eq!(
            run(&["-w", link]).ok(),
            outside,
            "what is beneath is new and empty"
        );
    }
    assert_ne!(run(&["-w", "/magic"]).code, 0);
    let scratch = home.file("mine/file", "m");
    let mine = format!("{}:/out/deep", scratch.parent().unwrap().display());
    assert_eq!(
        run(&["-v", &mine, "-w", "/out/deep"]).ok(),
        format!("{outside}/deep\nfile")
    );
    assert!(
        !secret.parent().unwrap().join("deep").exists(),
        "a mount point was made outside"
    );
}
