//! Several builds at once, and builds that are interrupted.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::{Project, RUNS, needs};

/// Starts all of these and waits for them; each has to succeed.
#[track_caller]
fn all_succeed(builds: Vec<Child>) {
    let ends: Vec<_> = builds
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    for end in ends {
        assert!(
            end.status.success(),
            "{}",
            String::from_utf8_lossy(&end.stderr)
        );
    }
}

#[test]
fn a_step_that_two_builds_need_runs_once() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nCOPY one /\nRUN cat /proc/sys/kernel/random/uuid > /id; sleep 0.2\nRUN cp /id /again\n",
    );
    project.file("one", "1");
    all_succeed(vec![
        project.start(&["-t", "a"]),
        project.start(&["-t", "b"]),
    ]);
    assert_eq!(project.image_named("a").id, project.image_named("b").id);
    let tree = project.tree();
    assert_eq!(tree.text("id"), tree.text("again"));
    project.assert_valid();
    project.assert_tidy();
}

#[test]
fn ten_builds_at_once_get_what_is_theirs() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    let names: Vec<String> = (0..10).map(|number| format!("image{number}")).collect();
    let start = |name: &String| {
        let text =
            format!("FROM busybox\nCOPY shared /\nRUN echo {name} > /name\nCOPY {name} /own\n");
        project.file(name, name);
        let file = project.file(&format!("{name}.Dockerfile"), text);
        project.start(&["-t", name, "-f", file.to_str().unwrap()])
    };
    project.file("shared", "s");
    all_succeed(names.iter().map(start).collect());
    for name in &names {
        let image = project.image_named(name);
        let tree = super::Tree::of(&project.store(), &image);
        assert_eq!(tree.text("name"), format!("{name}\n"));
        assert_eq!(tree.text("own"), *name);
    }
    project.assert_tidy();
}

#[test]
fn builds_at_once_may_open_a_new_data_root() {
    if !needs(&super::FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY Dockerfile /\n");
    all_succeed((0..6).map(|_| project.start(&[])).collect());
    project.image();
    project.assert_tidy();
}

#[test]
fn removing_and_pruning_beside_builds_harms_none() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nARG N\nRUN echo $N > /n\nRUN cat /n > /m\n");
    let builds = (0..4).map(|number| {
        let name = format!("pruned{number}");
        project.start(&["-t", &name, "--build-arg", &format!("N={number}")])
    });
    let builds: Vec<Child> = builds.collect();
    for _ in 0..5 {
        project.home().run(&["builder", "prune", "-af"]).ok();
        project.home().run(&["image", "prune", "-f"]).ok();
    }
    all_succeed(builds);
    for number in 0..4 {
        project.image_named(&format!("pruned{number}"));
    }
    project.assert_tidy();
}

/// Reads what a build says until a line has `part` in it.
#[track_caller]
fn wait_for(child: &mut Child, part: &str) -> BufReader<std::process::ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let before = said.len();
        let count = stderr.read_line(&mut said).unwrap();
        assert_ne!(count, 0, "no `{part}` in {said}");
        if said[before..].contains(part) {
            return stderr;
        }
    }
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    if !needs(&RUNS) {
        return;
    }
    // Both stages are at work, one with children of its own that ignore signals.
    let project = Project::on_busybox(
        "FROM busybox AS one\nRUN trap '' INT TERM; (setsid sleep 1000 &); touch /x; echo here; sleep 1000\n\
         FROM busybox\nCOPY --from=one /x /\n",
    );
    for signal in [Signal::INT, Signal::TERM] {
        let limited = ["--memory=64m", "--network=default"];
        let more: &[&str] = if signal == Signal::INT { &limited } else { &[] };
        let mut child = project.start(more);
        let pid = Pid::from_child(&child);
        let mut stderr = wait_for(&mut child, " here");
        kill_process(pid, signal).unwrap();
        let status = child.wait().unwrap();
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(status.code(), Some(130), "{rest}");
        assert!(rest.contains("CANCELED"), "{rest}");
        project.assert_tidy();
        let own = format!("build-{}-", pid.as_raw_nonzero());
        assert_eq!(cgroups_named(&own), [""; 0]);
    }
    // The steps can be built again.
    let text = "FROM busybox AS one\nRUN touch /x\nFROM scratch\nCOPY --from=one /x /\n";
    assert_eq!(project.tree_of(text).files(), ["x="]);
}

/// Cgroups of builds whose name starts with `prefix`.
fn cgroups_named(prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let mut parents: Vec<_> = hierarchies
        .map(|entry| entry.path().join("rbuild"))
        .collect();
    parents.push("/sys/fs/cgroup/rbuild".into());
    for parent in parents {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_step_killed_from_outside_fails_with_137() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo here; exec sleep 918273\n");
    let mut child = project.start(&[]);
    let mut stderr = wait_for(&mut child, " here");
    kill_process(find_process("sleep\u{0}918273"), Signal::KILL).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("exit code: 137"), "{rest}");
    project.assert_tidy();
}

/// The process with this command line, once it is there.
fn find_process(line: &str) -> Pid {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let own = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let own = String::from_utf8_lossy(&own);
            let number = entry.file_name().to_string_lossy().parse();
            if own.trim_end_matches('\u{0}') == line
                && let Ok(number) = number
            {
                return Pid::from_raw(number).unwrap();
            }
        }
    }
    panic!("no process {line:?}");
}

#[test]
fn the_first_failure_stops_the_other_stages() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS slow\nRUN touch /x; sleep 1000\nFROM busybox AS bad\nRUN sleep 0.1; exit 7\n\
         FROM scratch\nCOPY --from=slow /x /\nCOPY --from=bad /x /\n",
    );
    let outcome = project.try_build(&[]);
    outcome.fails(1, "exit code: 7");
    assert_eq!(outcome.ended("CANCELED"), ["RUN touch /x; sleep 1000"]);
    project.assert_tidy();
}
