//! Containers from end to end: their programs, streams, states and ends.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Need, Outcome, needs};

/// How long anything here may take at most on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A data root with busybox; `None` where containers cannot run.
fn home() -> Option<Home> {
    needs(&[Need::Root, Need::Busybox, Need::Overlay]).then(Home::with_busybox)
}

/// `run --rm --network none busybox sh -c SCRIPT`, with more flags.
fn sh(home: &Home, flags: &[&str], script: &str) -> Outcome {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags);
    words.extend(["busybox", "sh", "-c", script]);
    home.run(&words)
}

/// Starts `sleep 600`, or another program, in the background.
fn up(home: &Home, name: &str, flags: &[&str], command: &[&str]) -> String {
    let mut words = vec!["run", "-d", "--network", "none", "--name", name];
    words.extend(flags);
    words.push("busybox");
    words.extend(if command.is_empty() {
        &["sleep", "600"]
    } else {
        command
    });
    home.run(&words).ok().to_owned()
}

fn inspect(home: &Home, name: &str) -> Value {
    let text = home.run(&["inspect", name]).ok().to_owned();
    let mut list: Vec<Value> = serde_json::from_str(&text).unwrap();
    list.remove(0)
}

fn state(home: &Home, name: &str) -> String {
    inspect(home, name)["State"]["Status"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Waits until `done` says so.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(home: &Home, words: &[&str]) -> Child {
    home.command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Pids of processes whose command line starts with `name` and belongs to `id`'s data root.
fn shim_of(home: &Home, id: &str) -> i32 {
    let path = home.root().join("containers").join(id).join("state.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    i32::try_from(document["shim"]["pid"].as_i64().unwrap()).unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn is_alive(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn exit_codes_are_the_programs_or_dockers() {
    let Some(home) = home() else { return };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -9 $$; exit 3", 3),
        ("sh -c 'kill -9 $$'; exit $?", 137),
        ("sh -c 'kill -15 $$'; exit $?", 143),
    ] {
        assert_eq!(sh(&home, &[], script).code, code, "{script}");
    }
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(words);
        home.run(&all)
    };
    run(&["busybox", "/no/such"]).fails(127, "/no/such");
    run(&["busybox", "nosuchprogram"]).fails(127, "executable file not found");
    run(&["busybox", "/etc/passwd"]).fails(126, "permission denied");
    run(&["busybox", "/etc"]).fails(126, "is a directory");
    run(&["--entrypoint", "/nosuch", "busybox"]).fails(127, "/nosuch");
    run(&["-u", "nosuch", "busybox", "true"]).fails(125, "no matching entries in passwd file");
    run(&["-w", "rel", "busybox", "true"]).fails(125, "absolute");
    run(&["--nosuchflag", "busybox"]).fails(125, "nosuchflag");
    run(&["--pull=never", "nosuchimage"]).fails(125, "No such image");
    assert_eq!(
        home.run(&["ps", "-a", "-q"]).ok(),
        "",
        "nothing is left behind"
    );
}

#[test]
fn a_container_that_did_not_start_stays_created() {
    let Some(home) = home() else { return };
    home.run(&[
        "run",
        "--network",
        "none",
        "--name",
        "failed",
        "busybox",
        "/nosuch",
    ])
    .fails(127, "/nosuch");
    let document = inspect(&home, "failed");
    assert_eq!(document["State"]["Status"], "created");
    assert_eq!(document["State"]["ExitCode"], 127);
    assert_ne!(document["State"]["Error"], "");
}

#[test]
fn streams_are_kept_apart_and_whole() {
    let Some(home) = home() else { return };
    let outcome = sh(&home, &[], "echo out; echo err >&2");
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.stderr.as_str()),
        (&b"out\n"[..], "err\n")
    );
    let outcome = sh(&home, &[], "head -c 33554432 /dev/zero");
    assert_eq!(outcome.stdout.len(), 32 << 20);
    let words = [
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "sort; echo end",
    ];
    assert_eq!(home.run_with(&words, b"b\na\n").ok(), "a\nb\nend");
    // More than every buffer in between, both ways at once.
    let big = vec![b'x'; 8 << 20];
    let words = ["run", "--rm", "-i", "--network", "none", "busybox", "cat"];
    assert_eq!(home.run_with(&words, &big).stdout.len(), big.len());
    let words = ["run", "--rm", "--network", "none", "busybox", "cat"];
    assert_eq!(
        home.run_with(&words, b"ignored").ok(),
        "",
        "without -i there is no input"
    );
}

#[test]
fn what_a_program_sees() {
    let Some(home) = home() else { return };
    let see = |flags: &[&str], script: &str| sh(&home, flags, script).ok().to_owned();
    assert_eq!(see(&["-e", "A=1", "-e", "A=2"], "echo $A $HOME"), "2 /root");
    assert_eq!(
        see(&["-h", "box"], "hostname; cat /etc/hostname"),
        "box\nbox"
    );
    assert_eq!(
        see(&["-u", "1234:56"], "id -u; id -g; echo $HOME"),
        "1234\n56\n/"
    );
    assert_eq!(see(&["-u", "nobody"], "id -u"), "65534");
    assert_eq!(see(&["-w", "/made/for/it"], "pwd"), "/made/for/it");
    assert_eq!(
        see(&[], "umask; cat /proc/self/comm; echo $$"),
        "0022\ncat\n1"
    );
    assert!(see(&[], "cat /etc/hosts").contains("localhost"));
    assert_eq!(
        see(&[], "yes | head -1"),
        "y",
        "SIGPIPE has its default action"
    );
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "echo",
        "--rm",
        "-it",
        "--name",
    ];
    assert_eq!(home.run(&words).ok(), "--rm -it --name");
    let file = home.file("env", "# remark\n\nA=1\nB=\"q\"\n C=c\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        see(&["--env-file", file, "-e", "A=flag"], "echo $A $B $C"),
        "flag \"q\" c"
    );
}

#[test]
fn a_detached_container_is_listed_stopped_and_removed() {
    let Some(home) = home() else { return };
    let id = up(&home, "one", &["-l", "k=v"], &[]);
    assert_eq!(id.len(), 64);
    let table = home.run(&["ps"]).ok().to_owned();
    assert!(
        table.starts_with("CONTAINER ID   IMAGE     COMMAND"),
        "{table}"
    );
    let row = table.lines().nth(1).unwrap();
    assert!(
        row.starts_with(&id[..12]) && row.contains("\"sleep 600\"") && row.ends_with("one"),
        "{row}"
    );
    assert!(row.contains("Up "), "{row}");
    home.run(&["rm", "one"]).fails(1, "container is running");
    home.run(&["start", "one"]).ok();
    assert_eq!(home.run(&["kill", "-s", "USR1", "one"]).code, 0);
    assert_eq!(home.run(&["stop", "-t", "0", "one"]).ok(), "one");
    assert_eq!(
        home.run(&["stop", "one"]).ok(),
        "one",
        "stopping twice is fine"
    );
    assert_eq!(home.run(&["ps", "-q"]).ok(), "");
    let status = home
        .run(&["ps", "-a", "--format", "{{.Status}}"])
        .ok()
        .to_owned();
    assert!(status.starts_with("Exited (137)"), "{status}");
    assert_eq!(home.run(&["wait", "one"]).ok(), "137");
    home.run(&["kill", "one"]).fails(1, "is not running");
    assert_eq!(
        home.run(&["ps", "-aq", "--filter", "label=k=v", "--no-trunc"])
            .ok(),
        id
    );
    assert_eq!(home.run(&["rm", &id[..8]]).ok(), &id[..8]);
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
    let left = std::fs::read_dir(home.root().join("containers"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no file of a removed container is left");
    home.run(&["rm", "one"]).fails(1, "No such container: one");
}

#[test]
fn names_are_unique() {
    let Some(home) = home() else { return };
    let id = home
        .run(&["create", "--name", "web", "busybox"])
        .ok()
        .to_owned();
    let again = home.run(&["create", "--name", "web", "busybox"]);
    again.fails(
        1,
        "Conflict. The container name \"/web\" is already in use by container",
    );
    assert!(again.stderr.contains(&id));
    home.run(&["create", "--name", "bad name!", "busybox"])
        .fails(1, "Invalid container name");
    home.run(&["rename", "web", "other"]).ok();
    assert_eq!(inspect(&home, "other")["Name"], "/other");
    let outcome = home.run(&["rm", "none", "other"]);
    outcome.fails(1, "No such container: none");
    assert_eq!(
        outcome.text(),
        "other",
        "one that is missing does not keep the others"
    );
    let left = std::fs::read_dir(home.root().join("containers"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "a refused creation leaves no files");
}

#[test]
fn a_restarted_container_keeps_its_files_and_its_log() {
    let Some(home) = home() else { return };
    let script = "cat /kept 2>/dev/null; echo $HOSTNAME >> /kept; exit 5";
    let words = [
        "run",
        "--network",
        "none",
        "-h",
        "h",
        "--name",
        "again",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(home.run(&words).code, 5);
    let again = home.run(&["start", "-a", "again"]);
    assert_eq!((again.code, again.text()), (5, "h"));
    assert_eq!(home.run(&["restart", "again"]).ok(), "again");
    until("the end", || state(&home, "again") == "exited");
    assert_eq!(
        home.run(&["logs", "again"]).ok(),
        "h\nh\nh",
        "each start appends"
    );
}

#[test]
fn the_log_is_read_from_both_ends() {
    let Some(home) = home() else { return };
    let script = "for i in 1 2 3 4 5; do echo l$i; done; echo e >&2; printf end";
    let words = [
        "run",
        "--network",
        "none",
        "--name",
        "log",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    home.run(&words).ok();
    let whole = home.run(&["logs", "log"]);
    assert_eq!(
        (whole.ok(), whole.stderr.as_str()),
        ("l1\nl2\nl3\nl4\nl5\nend", "e\n")
    );
    assert_eq!(home.run(&["logs", "-n", "1", "log"]).ok(), "end");
    assert_eq!(home.run(&["logs", "--tail", "0", "log"]).ok(), "");
    assert_eq!(home.run(&["logs", "--until", "10m", "log"]).ok(), "");
    assert!(
        home.run(&["logs", "-t", "-n", "1", "log"])
            .ok()
            .ends_with("Z end")
    );
    home.run(&["logs", "--since", "whenever", "log"])
        .fails(1, "whenever");
    let path = inspect(&home, "log")["LogPath"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (line["log"].as_str(), line["stream"].as_str()),
        (Some("l1\n"), Some("stdout"))
    );
}

#[test]
fn following_a_log_misses_nothing_and_ends_with_the_container() {
    let Some(home) = home() else { return };
    let script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done";
    up(&home, "follow", &[], &["sh", "-c", script]);
    let outcome = home.run(&["logs", "-f", "follow"]);
    let want: Vec<String> = (0..3000).map(|i| i.to_string()).collect();
    assert_eq!(outcome.ok(), want.join("\n"));
}

#[test]
fn a_killed_shim_takes_its_container_and_is_noticed() {
    let Some(home) = home() else { return };
    let id = up(&home, "lost", &[], &[]);
    let program = inspect(&home, "lost")["State"]["Pid"].as_i64().unwrap();
    assert!(is_alive(program));
    kill(shim_of(&home, &id));
    until("the program's end", || !is_alive(program));
    let status = home
        .run(&["ps", "-a", "--format", "{{.Status}}"])
        .ok()
        .to_owned();
    assert!(status.starts_with("Exited (255)"), "{status}");
    assert_eq!(home.run(&["wait", "lost"]).ok(), "255");
    // It starts again, over the socket and the lock that its first shim left.
    home.run(&["start", "lost"]).ok();
    assert_eq!(state(&home, "lost"), "running");
    home.run(&["rm", "-f", "lost"]).ok();
}

#[test]
fn a_container_outlives_its_command_and_still_goes_at_its_end() {
    let Some(home) = home() else { return };
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--name",
        "kept",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 1",
    ];
    let mut child = start(&home, &words);
    let mut first = [0; 3];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(state(&home, "kept"), "running");
    until("removal at the end", || {
        home.run(&["inspect", "kept"]).code != 0
    });
}

#[test]
fn a_command_killed_at_any_moment_leaves_nothing_half() {
    let Some(home) = home() else { return };
    for delay in 0..12 {
        let name = format!("half{delay}");
        let words = [
            "run",
            "--rm",
            "--network",
            "none",
            "--name",
            &name,
            "busybox",
            "sleep",
            "0.1",
        ];
        let mut child = start(&home, &words);
        std::thread::sleep(Duration::from_millis(delay * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        // Either it is not there, or it can be removed, or it ends and goes by itself.
        until("the container to be gone", || {
            home.run(&["rm", "-f", &name]);
            home.run(&["inspect", &name]).code != 0
        });
    }
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_client_that_does_not_read_stops_nobody_else() {
    let Some(home) = home() else { return };
    let script = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done";
    let words = [
        "run",
        "--network",
        "none",
        "--name",
        "stall",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let mut stalled = start(&home, &words);
    let log = || {
        inspect(&home, "stall")["LogPath"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    until("the container", || {
        home.run(&["inspect", "stall"]).code == 0
    });
    let size = || std::fs::metadata(log()).map_or(0, |meta| meta.len());
    // The program waits for its reader, as with a pipe.
    until("backpressure", || {
        let before = size();
        std::thread::sleep(Duration::from_millis(300));
        before > 0 && size() == before
    });
    let stop = Instant::now();
    home.run(&["stop", "-t", "1", "stall"]).ok();
    assert!(stop.elapsed() < PATIENCE);
    assert_eq!(state(&home, "stall"), "exited");
    let mut rest = Vec::new();
    stalled
        .stdout
        .as_mut()
        .unwrap()
        .read_to_end(&mut rest)
        .unwrap();
    assert_eq!(stalled.wait().unwrap().code(), Some(137));
    assert!(
        rest.ends_with(b"x\n") || rest.ends_with(b"x"),
        "nothing was lost at the end"
    );
}

#[test]
fn signals_to_the_command_reach_the_program() {
    let Some(home) = home() else { return };
    let script = "trap 'echo usr; exit 6' USR1; echo ready; while :; do sleep 0.1; done";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let mut child = start(&home, &words);
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"usr\n"[..], Some(6))
    );
}

#[test]
fn attaching_gives_input_and_the_exit_code() {
    let Some(home) = home() else { return };
    up(
        &home,
        "typed",
        &["-i"],
        &["sh", "-c", "read x; sleep 0.3; echo got-$x; exit 9"],
    );
    let mut child = start(&home, &["attach", "typed"]);
    child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"got-word\n"[..], Some(9))
    );
    home.run(&["attach", "typed"]).fails(1, "stopped container");
}

#[test]
fn mounts_of_the_host_and_volumes() {
    let Some(home) = home() else { return };
    let file = home.file("dir/one", "1\n");
    let dir = file.parent().unwrap().to_str().unwrap().to_owned();
    let bind = format!("{dir}:/d");
    assert_eq!(
        sh(&home, &["-v", &bind], "cat /d/one; echo 2 > /d/two").ok(),
        "1"
    );
    assert_eq!(
        std::fs::read_to_string(file.with_file_name("two")).unwrap(),
        "2\n"
    );
    let read_only = format!("{bind}:ro");
    assert_ne!(sh(&home, &["-v", &read_only], "echo 3 > /d/three").code, 0);
    let missing = format!("{dir}/new/sub:/n");
    sh(&home, &["-v", &missing], "touch /n/x").ok();
    assert!(file.with_file_name("new").join("sub/x").exists());
    // A named volume starts with the image's content and stays.
    sh(
        &home,
        &["-v", "data:/etc"],
        "test -s /etc/passwd && echo kept > /etc/kept",
    )
    .ok();
    assert_eq!(
        sh(
            &home,
            &["-v", "data:/x"],
            "cat /x/kept; ls /x | grep -c passwd"
        )
        .ok(),
        "kept\n1"
    );
    assert_eq!(
        sh(
            &home,
            &["-v", "/var/www"],
            "touch /var/www/x && ls /var/www"
        )
        .ok(),
        "x"
    );
    let wrong = |flags: &[&str], part: &str| {
        let mut words = vec!["run", "--rm"];
        words.extend(flags);
        words.push("busybox");
        home.run(&words).fails(125, part);
    };
    wrong(&["-v", "/a:/b:nosuch"], "invalid mode");
    wrong(&["-v", "/tmp:/x", "--tmpfs", "/x"], "Duplicate mount point");
    wrong(
        &["--mount", "type=bind,source=/no/such/x,target=/x"],
        "/no/such/x",
    );
}

#[test]
fn two_starts_at_once_run_one_program() {
    let Some(home) = home() else { return };
    home.run(&[
        "create",
        "--network",
        "none",
        "--name",
        "race",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 600",
    ])
    .ok();
    let children: Vec<Child> = (0..6).map(|_| start(&home, &["start", "race"])).collect();
    let codes = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap());
    assert!(codes.filter(|output| output.status.success()).count() >= 1);
    until("the log", || home.run(&["logs", "race"]).ok() == "up");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        home.run(&["logs", "race"]).ok(),
        "up",
        "it was started once"
    );
    home.run(&["rm", "-f", "race"]).ok();
}

#[test]
fn a_container_on_the_bridge_has_an_address_and_ports() {
    let Some(home) = home() else { return };
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/etc",
    ];
    let outcome = home.run(&words);
    if outcome.stderr.contains("`nft` program") {
        println!("skipped: needs nft");
        return;
    }
    outcome.ok();
    let document = inspect(&home, "web");
    let address = document["NetworkSettings"]["IPAddress"].as_str().unwrap();
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    assert_eq!(
        document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"],
        address
    );
    let published = home.run(&["port", "web", "80"]).ok().to_owned();
    let mut stream = std::net::TcpStream::connect(&published).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /passwd HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("root:"), "{text}");
    let ports = home.run(&["ps", "--format", "{{.Ports}}"]).ok().to_owned();
    assert_eq!(ports, format!("{published}->80/tcp"));
    home.run(&["rm", "-f", "web"]).ok();
    assert!(
        std::net::TcpStream::connect(&published).is_err(),
        "the port is free again"
    );
}

#[test]
fn exec_runs_a_further_program_in_the_container() {
    let Some(home) = home() else { return };
    up(&home, "host", &["-h", "box", "-e", "A=own"], &[]);
    let exec = |flags: &[&str], command: &[&str]| {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.push("host");
        words.extend(command);
        home.run(&words)
    };
    assert_eq!(exec(&[], &["hostname"]).ok(), "box");
    assert!(exec(&[], &["ps"]).ok().contains("1 root"));
    for (script, code) in [("exit 42", 42), ("kill -9 $$", 137)] {
        assert_eq!(exec(&[], &["sh", "-c", script]).code, code, "{script}");
    }
    exec(&[], &["/nosuch"]).fails(127, "/nosuch");
    exec(&[], &["/etc/passwd"]).fails(126, "permission denied");
    let outcome = exec(
        &["-e", "B=2"],
        &["sh", "-c", "echo $A $B $HOME; echo e >&2"],
    );
    assert_eq!(
        (outcome.ok(), outcome.stderr.as_str()),
        ("own 2 /root", "e\n")
    );
    let seen = exec(&["-u", "nobody", "-w", "/tmp"], &["sh", "-c", "id -u; pwd"]);
    assert_eq!(seen.ok(), "65534\n/tmp");
    let big = vec![b'x'; 4 << 20];
    let outcome = home.run_with(&["exec", "-i", "host", "cat"], &big);
    assert_eq!(outcome.stdout.len(), big.len());
    assert_eq!(exec(&["-d"], &["sh", "-c", "echo x > /left"]).code, 0);
    until("the detached program", || {
        exec(&[], &["test", "-e", "/left"]).code == 0
    });
    // What an exec leaves behind goes on without it.
    exec(&[], &["sh", "-c", "sleep 300 >/dev/null 2>&1 &"]).ok();
    assert!(exec(&[], &["ps"]).ok().contains("sleep 300"));
    home.run(&["stop", "-t", "0", "host"]).ok();
    exec(&[], &["true"]).fails(1, "is not running");
}

#[test]
fn a_running_exec_does_not_hold_up_the_end() {
    let Some(home) = home() else { return };
    up(&home, "busy", &[], &[]);
    let mut child = start(&home, &["exec", "busy", "sleep", "600"]);
    until("the exec", || {
        home.run(&["exec", "busy", "ps"])
            .text()
            .matches("sleep 600")
            .count()
            == 2
    });
    let began = Instant::now();
    home.run(&["rm", "-f", "busy"]).ok();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

/// Runs the program on a terminal of its own, types `typed`, and returns what
/// appeared and the exit code.
fn on_a_terminal(home: &Home, words: &[&str], typed: &[u8]) -> (String, Option<i32>) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let peer = ioctl_tiocgptpeer(&master, flags).unwrap();
    let before = rustix::termios::tcgetattr(&peer).unwrap().local_modes;
    let mut child = home
        .command(words)
        .stdin(peer.try_clone().unwrap())
        .stdout(peer.try_clone().unwrap())
        .stderr(peer.try_clone().unwrap())
        .spawn()
        .unwrap();
    // What is typed before the mode changes is treated by the terminal itself.
    until("raw mode", || {
        let modes = rustix::termios::tcgetattr(&peer).unwrap().local_modes;
        !modes.contains(rustix::termios::LocalModes::ICANON)
    });
    rustix::io::write(&master, typed).unwrap();
    let status = child.wait().unwrap();
    let after = rustix::termios::tcgetattr(&peer).unwrap().local_modes;
    assert_eq!(before, after, "the terminal has its former mode");
    drop(peer);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = rustix::io::read(&master, &mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
    }
    (String::from_utf8_lossy(&seen).into_owned(), status.code())
}

#[test]
fn a_program_on_a_terminal() {
    let Some(home) = home() else { return };
    let words = ["run", "--rm", "-it", "--network", "none", "busybox", "sh"];
    let (seen, code) = on_a_terminal(&home, &words, b"tty; echo $TERM; exit 7\n");
    assert_eq!(code, Some(7), "{seen}");
    assert!(seen.contains("/dev/pts/0\r\nxterm\r\n"), "{seen:?}");
    // The keys leave the container running.
    let words = [
        "run",
        "-it",
        "--network",
        "none",
        "--name",
        "tty",
        "busybox",
        "sh",
    ];
    let (seen, code) = on_a_terminal(&home, &words, b"\x10\x11");
    assert_eq!(code, Some(0), "{seen}");
    assert_eq!(state(&home, "tty"), "running");
    let (seen, code) = on_a_terminal(&home, &["exec", "-it", "tty", "sh"], b"exit 11\n");
    assert_eq!(code, Some(11), "{seen}");
    sh(&home, &["-i", "-t"], "true").fails(1, "not a TTY");
}
