//! What Docker's users find again: forms of values, and what is said of containers.

use serde_json::json;

use super::base::{home, inspect, of, sh, up};

#[test]
fn values_that_docker_refuses_are_refused() {
    let Some(home) = home() else { return };
    for (flag, value, said) in [
        ("--dns", "bogus", "IP address is not correctly formatted"),
        ("--dns-search", "a b", "is not a valid domain"),
        ("--expose", "80-70", "invalid range format for --expose"),
        ("--sysctl", "net.ipv4.ip_forward", "is not allowed"),
        ("--cpu-shares", "1", "minimum allowed cpu-shares is 2"),
        ("--log-opt", "mode=bogus", "logging mode not supported"),
        (
            "--log-opt",
            "max-buffer-size=1m",
            "only supported with 'mode=non-blocking'",
        ),
        ("--log-opt", "compress=true", "compress cannot be true"),
        ("--volume-driver", "bogus", "volume plugin bogus"),
        (
            "--storage-opt",
            "size=1g",
            "--storage-opt is supported only",
        ),
        ("--isolation", "bogus", "invalid isolation"),
        ("--volumes-from", "", "cannot be an empty string"),
        ("-v", "/etc:/x:ro,rw", "invalid mode: ro,rw"),
        ("-v", "/etc:/x:nocopy", "invalid volume specification"),
        ("-l", "=x", "empty name"),
        ("--name", "-x", "Invalid container name (-x)"),
    ] {
        sh(&home, &[flag, value], "true").fails(125, said);
    }
    let flags = ["--log-driver", "local", "--log-opt", "tag=x"];
    sh(&home, &flags, "true").fails(125, "unknown log opt 'tag'");
    let flags = ["--ipc", "host", "--sysctl", "kernel.shmmax=1"];
    sh(&home, &flags, "true").fails(125, "hosts ipc namespace");
    let both = ["run", "-d", "-a", "stdout", "busybox"];
    home.run(&both).fails(1, "both --attach and --detach");
    up(&home, "aa", &[], "");
    for (flag, value) in [
        ("--dns", "1.1.1.1"),
        ("--add-host", "a:1.1.1.1"),
        ("--link", "aa"),
    ] {
        let words = ["run", "--network", "container:aa", flag, value, "busybox"];
        home.run(&words).fails(125, "conflicting options");
    }
}

#[test]
fn names_and_files_of_ids() {
    let Some(home) = home() else { return };
    up(&home, "/aa", &[], "");
    assert_eq!(of(&home, "aa", "/Name"), "/aa");
    assert_eq!(sh(&home, &["--name", ""], "echo ok").ok(), "ok");
    assert_eq!(
        sh(&home, &["--hostname", ""], "hostname | wc -c").ok(),
        "13"
    );
    // One that cannot be made leaves no file, one that does not start is told of.
    let path = home.scratch().join("id");
    let cid = path.to_str().unwrap();
    home.run(&["run", "--cidfile", cid, "--pid", "bogus", "busybox"])
        .fails(125, "PID mode");
    assert!(!path.exists());
    let failed = home.run(&[
        "run",
        "-d",
        "--name",
        "bb",
        "--cidfile",
        cid,
        "busybox",
        "nosuch",
    ]);
    failed.fails(127, "not found");
    assert_eq!(failed.text(), std::fs::read_to_string(&path).unwrap());
    assert_eq!(of(&home, "bb", "/State/ExitCode"), 127);
    home.run(&["start", "bb"])
        .fails(1, "failed to start containers: bb");
    let labels = home.file("labels", "a=1\nb\n");
    let flags = ["--label-file", labels.to_str().unwrap(), "-l", "c=3"];
    up(&home, "cc", &flags, "");
    assert_eq!(
        of(&home, "cc", "/Config/Labels"),
        json!({"a": "1", "c": "3"})
    );
}

#[test]
fn the_group_is_among_the_further_ones() {
    let Some(home) = home() else { return };
    let groups = |flags: &[&str]| sh(&home, flags, "id -G").ok().to_owned();
    assert_eq!(groups(&[]), "0");
    let all = "grep Groups: /proc/self/status | tr -d '\\t '";
    for (flags, want) in [
        (&["-u", "5:6"][..], "Groups:6"),
        (&["-u", "1000"], "Groups:0"),
        (&["--group-add", "7"], "Groups:07"),
    ] {
        assert_eq!(sh(&home, flags, all).ok(), want, "{flags:?}");
    }
    up(&home, "aa", &[], "");
    let words = ["exec", "-u", "5:6", "aa", "sh", "-c", all];
    assert_eq!(home.run(&words).ok(), "Groups:6");
}

#[test]
fn what_inspect_says_of_what_was_asked() {
    let Some(home) = home() else { return };
    let flags = [
        "-e",
        "A=1",
        "-v",
        "vv:/v",
        "-v",
        "/etc:/e:ro",
        "-v",
        "/anon",
        "--tmpfs",
        "/t:size=1m",
        "--mount",
        "type=tmpfs,target=/m,tmpfs-size=1048576",
        "--cap-add",
        "net_admin",
    ];
    up(&home, "aa", &flags, "");
    let document = inspect(&home, "aa");
    let host = &document["HostConfig"];
    assert_eq!(document["Config"]["Env"][0], "A=1");
    assert_eq!(document["Config"]["Volumes"], json!({"/anon": {}}));
    assert_eq!(host["Binds"], json!(["vv:/v", "/etc:/e:ro"]));
    assert_eq!(host["Tmpfs"], json!({"/t": "size=1m"}));
    let mounts =
        json!([{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 1_048_576}}]);
    assert_eq!(host["Mounts"], mounts);
    assert_eq!(host["CapAdd"], json!(["CAP_NET_ADMIN"]));
    let shown = document["Mounts"].as_array().unwrap();
    let shown: Vec<_> = shown
        .iter()
        .map(|m| (&m["Destination"], &m["Mode"]))
        .collect();
    let want = [("/anon", ""), ("/e", "ro"), ("/m", ""), ("/v", "z")];
    let want = want.map(|(target, mode)| (json!(target), json!(mode)));
    assert!(
        shown
            .iter()
            .zip(&want)
            .all(|(one, other)| (one.0, one.1) == (&other.0, &other.1)),
        "{shown:?}"
    );
    for absent in ["Init", "Annotations", "Sysctls"] {
        assert!(host.get(absent).is_none(), "{absent}");
    }
    home.run(&["inspect", "-f", "{{.Name", "aa"])
        .fails(64, "unclosed action");
    let sized = home.run(&[
        "inspect",
        "-s",
        "-f",
        "{{.SizeRw}} {{gt .SizeRootFs 0}}",
        "aa",
    ]);
    assert_eq!(sized.ok(), "0 true");
}

#[test]
fn lists_read_as_dockers() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &["-l", "a.b-c=x"],
        "echo \"q\"; exec sleep 600",
    );
    let ps = |words: &[&str]| {
        let outcome = home.run(&[&["ps"], words].concat());
        (outcome.ok().to_owned(), outcome.stderr)
    };
    let (command, _) = ps(&["--no-trunc", "--format", "{{.Command}}"]);
    assert_eq!(command, r#""sh -c 'echo \"q\"; exec sleep 600'""#);
    let (table, _) = ps(&["--format", r#"table {{.Names}}\t{{.Label "a.b-c"}}"#]);
    assert!(table.starts_with("NAMES     b c\naa        x"), "{table}");
    let (ids, warned) = ps(&["-q", "--format", "{{.Names}}"]);
    assert_eq!(ids.len(), 12);
    assert!(warned.contains("Ignoring custom format"), "{warned}");
    let (row, _) = ps(&["--format", "json"]);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(
        (&row["Size"], row.get("Platform")),
        (&json!("0B"), Some(&json!(null)))
    );
    assert!(ps(&["--format", "raw"]).0.starts_with("container_id: "));
    for (filter, said) in [
        ("health=x", "must be one of"),
        ("is-task=x", "invalid filter"),
        ("publish=x", "publish x"),
    ] {
        home.run(&["ps", "--filter", filter]).fails(1, said);
    }
    assert_eq!(ps(&["--filter", "", "--format", "{{.Names}}"]).0, "aa");
}

#[test]
fn further_programs_are_seen_and_told_of() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    home.run(&["exec", "-d", "aa", "sleep", "500"]).ok();
    let top = home.run(&["top", "aa"]);
    assert!(
        top.ok().contains("sleep 500") && top.text().starts_with("UID                 PID "),
        "{top:?}"
    );
    let pids = home.run(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.PIDs}} {{.Container}}",
        "aa",
    ]);
    assert_eq!(pids.ok(), "2 aa");
    home.run(&["exec", "-d", "aa", "nosuch"])
        .fails(1, "not found");
    home.run(&["exec", "-w", "rel", "aa", "pwd"])
        .fails(128, "Cwd must be an absolute path");
    home.run(&["restart", "-t", "0", "aa"]).ok();
    home.run(&["commit", "aa", "made"]).ok();
    home.run(&["create", "--name", "bb", "busybox"]).ok();
    let none = "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}";
    let none = home.run(&["stats", "--no-stream", "--format", none, "bb"]);
    assert_eq!(none.ok(), "0.00% 0B / 0B 0");
    home.run(&["rm", "-f", "aa"]).ok();
    let events = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "container=aa",
        "--format",
        "{{.Action}}",
    ];
    let events = home.run(&events).ok().to_owned();
    for action in ["top", "restart", "commit", "destroy"] {
        assert!(
            events.lines().any(|line| line == action),
            "{action} in {events}"
        );
    }
    home.run(&["logs", "--since", "2001-01-01", "--tail", "x", "bb"])
        .ok();
    home.run(&["cp", "bb:", "/tmp"])
        .fails(1, "path cannot be empty");
}
