//! Secrets and agents: they reach the steps that ask for them, and nothing else.

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::{Project, RUNS, needs};

const VALUE: &str = "hunter2-correct-horse";

/// Files beneath `dir` that contain the value.
fn holders(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            holders(&path, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let value = VALUE.as_bytes();
            if bytes.windows(value.len()).any(|window| window == value) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn a_secret_is_seen_by_its_step_and_kept_nowhere() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\n\
         RUN --mount=type=secret,id=one sha256sum < /run/secrets/one > /sum; \
         stat -c '%a %u' /run/secrets/one > /meta; ! touch /run/secrets/one 2>/dev/null\n\
         RUN --mount=type=secret,id=two,env=TOKEN --mount=type=secret,id=one,target=/deep/er/s,mode=444 \
         echo -n \"$TOKEN\" | sha256sum >> /sum; sha256sum < /deep/er/s >> /sum; test ! -e /run/secrets\n\
         RUN --mount=type=secret,id=none,env=NONE test ! -e /run/secrets/none && test -z \"${NONE+x}\"\n\
         RUN env > /env\n",
    );
    let file = project.home().file("secret", VALUE);
    let one = format!("id=one,src={}", file.display());
    let mut command = project.home().command(&project.arguments(&[
        "--secret",
        &one,
        "--secret",
        "id=two,env=TWO",
    ]));
    let output = command.env("TWO", VALUE).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let tree = project.tree();
    let sums = tree.text("sum");
    let first = sums.lines().next().unwrap();
    assert_eq!(sums.lines().filter(|line| *line == first).count(), 3);
    assert_eq!(tree.text("meta"), "400 0\n");
    assert!(!tree.text("env").contains("TOKEN"));
    for trace in ["run", "deep"] {
        assert!(!tree.has(trace), "{trace}");
    }
    let mut found = Vec::new();
    holders(&project.home().root(), &mut found);
    assert!(found.is_empty(), "{found:?}");
    project.assert_tidy();
    // Another value is no reason to run again.
    std::fs::write(&file, "another value").unwrap();
    let outcome = project.build(&["--secret", &one]);
    assert_eq!(outcome.ended("CACHED").len(), 4, "{outcome:?}");
}

#[test]
fn what_is_shown_has_no_secret_in_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(&format!(
        "FROM busybox\nARG COPY\n\
         RUN --mount=type=secret,id=s cat /run/secrets/s; echo; cat /run/secrets/s >&2; \
         echo ${{COPY}}; printf 'hunter2-'; sleep 0.1; echo correct-horse; echo hunter\n\
         RUN echo {VALUE} && false\n",
    ));
    let file = project.home().file("secret", format!("{VALUE}\n"));
    let secret = format!("id=s,src={}", file.display());
    let argument = format!("COPY={VALUE}");
    let outcome = project.try_build(&["--secret", &secret, "--build-arg", &argument]);
    outcome.fails(1, "process \"/bin/sh -c echo **** && false\"");
    let shown: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains(VALUE))
        .collect();
    // The Dockerfile's own text is the user's.
    assert!(
        shown.iter().all(|line| line.contains(">>> RUN")),
        "{shown:#?}"
    );
    assert_eq!(outcome.stderr.matches("****\n").count(), 6, "{outcome:?}");
    assert!(outcome.stderr.contains("hunter\n"));
}

#[test]
fn a_layer_with_a_secret_is_refused() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN --mount=type=secret,id=s \
         mkdir /d && { head -c 300000 /dev/zero; cat /run/secrets/s; } > /d/copy\n",
    );
    let file = project.home().file("secret", format!("{VALUE}\n"));
    let secret = format!("id=s,src={}", file.display());
    let outcome = project.try_build(&["--secret", &secret]);
    outcome.fails(1, "would contain the secret \"s\", in \"/d/copy\"");
    assert!(outcome.stderr.contains("--allow secrets.in-layers"));
    project.assert_tidy();
    project.build(&["--secret", &secret, "--allow=secrets.in-layers"]);
    assert!(project.tree().has("d/copy"));
    // Taken away in the same step, it is in no layer.
    project.file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=s,env=S echo \"$S\" > /copy && rm /copy\n",
    );
    project.build(&["--secret", &secret]);
}

#[test]
fn a_secret_that_is_needed_and_not_there_is_an_error_with_its_place() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN true\nRUN --mount=type=secret,id=token,required true\n",
    );
    let outcome = project.try_build(&[]);
    outcome.fails(1, "secret token: not found");
    assert!(outcome.stderr.contains("Dockerfile:3"), "{outcome:?}");
    assert!(outcome.stderr.contains("--secret id=token,src=FILE"));
    project.assert_tidy();
    for (secret, part) in [
        (
            "id=token,src=/nowhere/at/all",
            "failed to stat /nowhere/at/all",
        ),
        ("src=x", "secret missing ID"),
        ("id=token,typ=x", "unexpected key 'typ' in 'typ=x'"),
    ] {
        project.try_build(&["--secret", secret]).fails(1, part);
    }
    let big = project.home().file("big", vec![b'x'; 500 * 1024 + 1]);
    let big = format!("id=token,src={}", big.display());
    project
        .try_build(&["--secret", &big])
        .fails(1, "secret token too big. max size 500KB");
    let zero = project.home().file("zero", b"a\0b");
    let zero = format!("id=token,src={}", zero.display());
    project.file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=token,env=T true\n",
    );
    project
        .try_build(&["--secret", &zero])
        .fails(1, "a variable cannot hold its value");
}

#[test]
fn an_agent_is_a_socket_in_the_step() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\n\
         RUN --mount=type=ssh --mount=type=ssh,id=other,target=/o,mode=666,uid=7 \
         test -S \"$SSH_AUTH_SOCK\" && echo $SSH_AUTH_SOCK > /where && \
         stat -c '%a %u' $SSH_AUTH_SOCK > /meta && stat -c '%a %u' /o >> /meta\n\
         RUN --mount=type=ssh,id=absent test -z \"$SSH_AUTH_SOCK\"\n",
    );
    let socket = project.home().scratch().join("agent");
    let _agent = UnixListener::bind(&socket).unwrap();
    let other = format!("other={}", socket.display());
    let mut command = project
        .home()
        .command(&project.arguments(&["--ssh", "default", "--ssh", &other]));
    let output = command.env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let tree = project.tree();
    assert_eq!(tree.text("where"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!(tree.text("meta"), "600 0\n666 7\n");
    assert!(!tree.has("run") && !tree.has("o"));
    project.assert_tidy();
}

#[test]
fn an_agent_that_is_missing_or_dead_is_a_clear_error() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN --mount=type=ssh,required true\n");
    let outcome = project.try_build(&[]);
    outcome.fails(1, "no SSH key \"default\" forwarded from the client");
    assert!(outcome.stderr.contains("Dockerfile:2"), "{outcome:?}");
    let socket = project.home().scratch().join("agent");
    drop(UnixListener::bind(&socket).unwrap());
    let dead = format!("default={}", socket.display());
    let outcome = project.try_build(&["--ssh", &dead]);
    outcome.fails(1, "does not answer: connection refused");
    let mut command = project
        .home()
        .command(&project.arguments(&["--ssh=default"]));
    let output = command.env_remove("SSH_AUTH_SOCK").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("make sure SSH_AUTH_SOCK is set"), "{said}");
    let key = project
        .home()
        .file("id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let key = format!("default={}", key.display());
    let outcome = project.try_build(&["--ssh", &key]);
    outcome.fails(1, "key files are not read");
    assert!(outcome.stderr.contains("ssh-add"), "{outcome:?}");
}
