//! What runs again and what does not.

use super::{Project, RUNS, Tree, needs};
use std::os::unix::fs::PermissionsExt;

const STEPS: [&str; 4] = [
    "COPY config /",
    "RUN cp /config /first",
    "COPY src /src",
    "RUN cat /src/* > /out",
];

/// A Dockerfile with [`STEPS`] that has been built.
fn built() -> Project {
    let project = Project::on_busybox(&format!("FROM busybox\n{}\n", STEPS.join("\n")));
    project.file("config", "c");
    project.file("src/a", "a\n");
    project.file("src/b", "b\n");
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("DONE"), STEPS);
    project
}

#[test]
fn nothing_runs_when_nothing_changed() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let id = project.image().id;
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), STEPS);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert_eq!(project.image().id, id);
}

#[test]
fn a_changed_file_runs_its_copy_and_what_follows() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    project.file("src/b", "B\n");
    let outcome = project.build(&["--explain-cache"]);
    assert_eq!(outcome.ended("CACHED"), STEPS[..2]);
    assert_eq!(outcome.ended("DONE"), STEPS[2..]);
    assert!(
        outcome.stderr.contains("/src/b changed"),
        "{}",
        outcome.stderr
    );
    assert_eq!(project.tree().text("out"), "a\nB\n");
    // And back: the first result is still there.
    project.file("src/b", "b\n");
    assert_eq!(project.build(&[]).ended("CACHED"), STEPS);
    assert_eq!(project.tree().text("out"), "a\nb\n");
}

#[test]
fn new_lost_and_renamed_files_are_changes() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    project.file("src/new", "n\n");
    let outcome = project.build(&["--explain-cache"]);
    assert_eq!(outcome.ended("DONE"), STEPS[2..]);
    assert!(
        outcome.stderr.contains("/src/new is new"),
        "{}",
        outcome.stderr
    );
    std::fs::remove_file(project.context().join("src/a")).unwrap();
    let outcome = project.build(&["--explain-cache"]);
    assert_eq!(outcome.ended("DONE"), STEPS[2..]);
    assert!(
        outcome.stderr.contains("/src/a is gone"),
        "{}",
        outcome.stderr
    );
    let context = project.context();
    std::fs::rename(context.join("src/b"), context.join("src/c")).unwrap();
    assert_eq!(project.build(&[]).ended("DONE"), STEPS[2..]);
    assert!(project.tree().has("src/c") && !project.tree().has("src/b"));
}

#[test]
fn times_and_owners_are_no_change_and_modes_are() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let path = project.file("src/a", "a\n");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
    assert_eq!(project.build(&[]).ended("CACHED"), STEPS);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(project.build(&[]).ended("DONE"), STEPS[2..]);
    assert_eq!(project.tree().meta("src/a"), "-0755 0:0");
}

#[test]
fn variables_reach_the_steps_after_them() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN echo before\nARG V=1\nRUN echo $V > /v\nCOPY Dockerfile /\nENV E=1\nRUN echo e\nLABEL l=1\n",
    );
    project.build(&[]);
    let outcome = project.build(&["--build-arg", "V=2", "--explain-cache"]);
    assert_eq!(outcome.ended("CACHED"), ["RUN echo before"]);
    assert_eq!(
        outcome.ended("DONE"),
        ["RUN echo $V > /v", "COPY Dockerfile /", "RUN echo e"]
    );
    let why = "build argument V changed from \"1\" to \"2\"";
    assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    assert_eq!(project.tree().text("v"), "2\n");
    // An argument that nobody declares changes nothing.
    let outcome = project.build(&["--build-arg", "OTHER=2"]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    // The proxy is given to steps and enters no key.
    let outcome = project.build(&["--build-arg", "HTTP_PROXY=http://x"]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
}

#[test]
fn the_same_result_lets_later_steps_hit() {
    if !needs(&RUNS) {
        return;
    }
    let later = ["COPY config /", "RUN cat /size /config > /out"];
    let text = |first: &str| format!("FROM busybox\n{first}\n{}\n", later.join("\n"));
    let project = Project::on_busybox(&text("RUN echo 12 > /size"));
    project.file("config", "c");
    project.build(&[]);
    let tree = project.tree();
    project.file("Dockerfile", text("RUN printf '12\\n' > /size"));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("DONE"), ["RUN printf '12\\n' > /size"]);
    assert_eq!(outcome.ended("CACHED"), later);
    assert_eq!(project.tree().files(), tree.files());
    project.file("Dockerfile", text("RUN echo 13 > /size"));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), [""; 0]);
    assert_eq!(project.tree().text("out"), "13\nc");
}

#[test]
fn copies_between_stages_go_by_content() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS make\nCOPY in /in\nRUN wc -c < /in > /size\n\
         FROM busybox\nCOPY --from=make /size /\nRUN cat /size > /out\n",
    );
    let last = ["COPY --from=make /size /", "RUN cat /size > /out"];
    project.file("in", "one");
    project.build(&[]);
    let id = project.image().id;
    project.file("in", "two");
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), last);
    assert_eq!(project.image().id, id);
    project.file("in", "three");
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), [""; 0]);
    assert_eq!(project.tree().text("out"), "5\n");
}

#[test]
fn no_cache_runs_everything_and_replaces_the_results() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY Dockerfile /\n",
    );
    project.build(&[]);
    let first = project.tree().text("id");
    let outcome = project.build(&["--no-cache"]);
    assert_eq!(outcome.ended("CACHED"), [""; 0]);
    let second = project.tree().text("id");
    assert_ne!(first, second);
    assert_eq!(project.build(&[]).ended("DONE"), [""; 0]);
    assert_eq!(project.tree().text("id"), second);
}

#[test]
fn only_what_the_target_needs_runs() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS broken\nRUN exit 1\nFROM busybox AS good\nRUN echo good > /good\n\
         FROM busybox AS unused\nCOPY --from=broken / /\nFROM good\nRUN echo last\n",
    );
    let outcome = project.build(&[]);
    assert_eq!(
        outcome.ended("DONE"),
        ["RUN echo good > /good", "RUN echo last"]
    );
    project
        .try_build(&["--target=unused"])
        .fails(1, "exit code: 1");
    project.assert_tidy();
}

#[test]
fn independent_stages_run_at_the_same_time() {
    if !needs(&RUNS) {
        return;
    }
    // Each of two steps says a word and waits for the other's: one after the
    // other they would wait for ever.
    let (port, meeting) = rendezvous();
    let project = Project::on_busybox(&format!(
        "FROM busybox AS one\nRUN --network=host nc 127.0.0.1 {port} > /met && test -s /met\n\
         FROM busybox AS two\nRUN --network=host nc 127.0.0.1 {port} > /met2 && test -s /met2\n\
         FROM scratch\nCOPY --from=one /met /\nCOPY --from=two /met2 /\n",
    ));
    project.build(&["--allow=network.host"]);
    assert_eq!(project.tree().files(), ["met=together", "met2=together"]);
    meeting.join().unwrap();
}

/// A port at which two visitors are greeted once both are there.
fn rendezvous() -> (u16, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let meeting = std::thread::spawn(move || {
        let visitors = [listener.accept().unwrap(), listener.accept().unwrap()];
        for (mut visitor, _) in visitors {
            std::io::Write::write_all(&mut visitor, b"together").unwrap();
        }
    });
    (port, meeting)
}

#[test]
fn equal_steps_of_two_dockerfiles_are_shared() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    project.file(
        "Dockerfile",
        "# Another file\nFROM busybox:latest AS named\nCOPY config /\nENV A=1\nRUN cp /config /second\n",
    );
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), ["COPY config /"]);
    assert_eq!(outcome.ended("DONE"), ["RUN cp /config /second"]);
}

#[test]
fn pruning_the_cache_makes_steps_run_again() {
    if !needs(&RUNS) {
        return;
    }
    let project = built();
    let tree: Tree = project.tree();
    project.home().run(&["builder", "prune", "-af"]).ok();
    assert_eq!(project.tree(), tree);
    assert_eq!(project.build(&[]).ended("DONE"), STEPS);
    project.assert_tidy();
}

#[test]
fn a_failed_step_is_not_remembered_and_those_before_it_are() {
    if !needs(&RUNS) {
        return;
    }
    let project =
        Project::on_busybox("FROM busybox\nRUN echo 1 > /one\nCOPY script /\nRUN sh /script\n");
    project.file("script", "exit 1");
    project.try_build(&[]).fails(1, "exit code: 1");
    project.assert_tidy();
    project.file("script", "touch /done");
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), ["RUN echo 1 > /one"]);
    assert_eq!(outcome.ended("DONE"), ["COPY script /", "RUN sh /script"]);
}

#[test]
fn layers_are_the_same_in_every_data_root() {
    if !needs(&super::FILES) {
        return;
    }
    let layers = |pause: bool| {
        let project = Project::from_scratch(
            "FROM scratch AS one\nCOPY src /a/b/\nFROM scratch\nWORKDIR /w/x\nCOPY --chown=1:2 src .\n\
             COPY <<E /made/file\nx\nE\nADD src/f g/\nCOPY --from=one /a /c\n",
        );
        for at in 0..40 {
            let path = project.file(&format!("src/d{}/f{at}", at % 7), format!("{at}"));
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let time = std::time::Duration::from_secs(1_700_000_000 + at);
            file.set_modified(std::time::UNIX_EPOCH + time).unwrap();
        }
        let path = project.file("src/f", "f");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        for at in 0..7 {
            let dir = std::fs::File::open(project.context().join(format!("src/d{at}"))).unwrap();
            let time = std::time::Duration::from_secs(1_600_000_000);
            dir.set_modified(std::time::UNIX_EPOCH + time).unwrap();
        }
        if pause {
            // Files land on another second, which must not show.
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        project.build(&[]);
        project.image().config.rootfs.diff_ids
    };
    let first = layers(false);
    assert_eq!(first.len(), 5);
    assert_eq!(layers(true), first);
}
