//! RUN: forms, environment, network, and what becomes of the result.

use super::{Project, RUNS, needs};

#[test]
fn the_forms_of_run_do_what_they_say() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        r#"FROM busybox
RUN echo "$0" a   b > /shell && \
    # a comment in between
    echo next >> /shell
RUN ["/bin/sh", "-c", "echo $# $1 > /exec", "zero", "a b"]
RUN ["touch", "/$HOME"]
RUN <<EOF
echo one > /heredoc
echo two $((1 + 2)) >> /heredoc
EOF
RUN <<EOF
#!/bin/awk -f
BEGIN { print "awk" > "/script" }
EOF
RUN cat <<A > /first && cat <<"B" > /second
$((2 + 3))
A
$((2 + 3))
B
SHELL ["/bin/sh", "-e", "-c"]
RUN false || echo "$-" > /own
"#,
    );
    assert_eq!(tree.text("shell"), "/bin/sh a b\nnext\n");
    assert_eq!(tree.text("exec"), "1 a b\n");
    assert!(tree.has("$HOME"));
    assert_eq!(tree.text("heredoc"), "one\ntwo 3\n");
    assert_eq!(tree.text("script"), "awk\n");
    assert_eq!(tree.text("first"), "5\n");
    assert_eq!(tree.text("second"), "$((2 + 3))\n");
    assert!(tree.text("own").contains('e'));
    assert!(!tree.has("dev/pipes"));
}

#[test]
fn a_step_sees_its_environment_directory_and_user() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        "FROM busybox\nARG A=arg\nENV E=env P=$A\nWORKDIR /w/d\n\
         RUN env > /env; pwd > /pwd; id > /id; hostname > /name; chmod 777 .\n\
         USER www-data\nRUN id > mine; echo $HOME >> mine\n\
         USER 123:45\nRUN id -u > numbers; id -g >> numbers\n\
         USER daemon:www-data\nRUN id -u > both; id -g >> both\n\
         WORKDIR theirs\nRUN touch f\n",
    );
    let env = tree.text("env");
    for line in [
        "A=arg\n",
        "E=env\n",
        "P=arg\n",
        "PATH=/usr/local/sbin",
        "HOME=/root\n",
    ] {
        assert!(env.contains(line), "{line}: {env}");
    }
    assert_eq!(tree.text("pwd"), "/w/d\n");
    assert!(tree.text("id").starts_with("uid=0(root) gid=0(root)"));
    assert_eq!(tree.text("name"), "buildkitsandbox\n");
    let mine = tree.text("w/d/mine");
    assert!(
        mine.starts_with("uid=33(www-data) gid=33(www-data)"),
        "{mine}"
    );
    assert!(mine.ends_with("/var/www\n"), "{mine}");
    assert_eq!(tree.meta("w/d/mine"), "-0644 33:33");
    assert_eq!(tree.text("w/d/numbers"), "123\n45\n");
    assert_eq!(tree.text("w/d/both"), "1\n33\n");
    assert_eq!(tree.meta("w/d/theirs"), "d0755 1:33");
    assert_eq!(tree.meta("w/d/theirs/f"), "-0644 1:33");
}

#[test]
fn nothing_of_the_sandbox_stays_in_the_layer() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let before = project.tree_of("FROM busybox\nLABEL a=b\n").files();
    let tree = project.tree_of(
        "FROM busybox\nRUN true\nRUN echo x >/dev/shm/f; echo >/dev/null; mknod /tmp/n p; rm /tmp/n\n",
    );
    assert_eq!(tree.files(), before);
    for path in [
        "proc",
        "sys",
        "etc/hosts",
        "etc/resolv.conf",
        "dev/shm",
        "dev/null",
    ] {
        assert!(!tree.has(path), "{path}");
    }
    project.assert_tidy();
}

#[test]
fn layers_hold_removals_links_and_special_files() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let tree = project.tree_of(
        "FROM busybox\n\
         RUN mkdir -p /d/e /gone && touch /d/e/old /gone/f && ln -s e /d/link && mkfifo -m 600 /d/pipe\n\
         RUN rm -r /gone && rm /d/e/old && echo 1 > /d/e/new && ln /d/e/new /d/twin && chmod 4755 /d/e/new\n\
         RUN rm -r /d/e && mkdir /d/e && touch /d/e/fresh && chown 7:8 /d/e && mv /d/twin /d/moved\n",
    );
    assert!(!tree.has("gone") && !tree.has("gone/f"));
    assert!(!tree.has("d/e/new") && !tree.has("d/e/old") && !tree.has("d/twin"));
    assert_eq!(tree.text("d/link"), "e");
    assert_eq!(tree.meta("d/pipe"), "p0600 0:0");
    assert_eq!(tree.meta("d/moved"), "-4755 0:0");
    assert_eq!(tree.text("d/moved"), "1\n");
    assert_eq!(tree.meta("d/e"), "d0755 7:8");
    assert!(tree.has("d/e/fresh"));
}

#[test]
fn steps_have_the_network_they_ask_for() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let greeting = std::thread::spawn(move || {
        let (mut visitor, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut visitor, b"welcome").unwrap();
    });
    let dockerfile = format!(
        "FROM busybox\n\
         RUN --network=none ls /sys/class/net > /none; ! nc -w 1 127.0.0.1 {port}\n\
         RUN --network=host nc 127.0.0.1 {port} > /said\n",
    );
    project.file("Dockerfile", dockerfile);
    project.build(&["--allow=network.host"]);
    let tree = project.tree();
    greeting.join().unwrap();
    assert_eq!(tree.text("said"), "welcome");
    let devices = tree.text("none");
    assert!(
        devices.contains("lo") && !devices.contains("eth0"),
        "{devices}"
    );
    project.refuses(
        "FROM busybox\nRUN --network=fast true\n",
        "invalid network mode \"fast\"",
    );
}

#[test]
fn the_default_network_has_a_device_and_an_address() {
    if !needs(&RUNS) {
        return;
    }
    let project =
        Project::on_busybox("FROM busybox\nRUN --network=default ip -4 addr show eth0 > /net\n");
    let context = project.context();
    let arguments = ["build", "-t", "result", context.to_str().unwrap()];
    project.home().run(&arguments).ok();
    let device = project.tree().text("net");
    assert!(device.contains("inet "), "{device}");
    project.assert_tidy();
}

#[test]
fn failures_are_told_with_the_code_a_shell_would_give() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let cases = [
        ("RUN exit 42", "exit code: 42"),
        // The shell reports its child's end; it is the first process itself,
        // which no signal from inside ends.
        ("RUN sh -c 'kill -9 $$'; exit $?", "exit code: 137"),
        ("RUN sh -c 'kill -15 $$'; exit $?", "exit code: 143"),
        ("RUN nothing-there", "exit code: 127"),
        ("RUN [\"nothing-there\"]", "exit code: 127"),
        ("RUN [\"/no/such\"]", "exit code: 127"),
        ("RUN [\"/etc/passwd\"]", "exit code: 126"),
        ("RUN [\"/etc\"]", "exit code: 126"),
        ("RUN <<E\n#!/no/such/interpreter\nE", "exit code: 127"),
        ("USER nosuch\nRUN true", "nosuch"),
        ("USER www-data\nRUN touch /x", "exit code: 1"),
    ];
    for (lines, part) in cases {
        project.refuses(&format!("FROM busybox\n{lines}\n"), part);
    }
    project.tree_of("FROM busybox\nRUN true\n");
}

#[test]
fn output_of_any_kind_does_no_harm() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\n\
         RUN printf 'no line break'; printf '\\033[31m\\377\\000\\r' >&2; yes | head -c 3000000\n",
    );
    let outcome = project.build(&[]);
    assert!(outcome.stderr.contains("no line break"));
    assert!(outcome.stderr.contains("output clipped"));
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN (sleep 1000 >/dev/null 2>&1 &); sleep 1001 & touch /done\n",
    );
    project.build(&[]);
    assert!(project.tree().has("done"));
    project.assert_tidy();
}
