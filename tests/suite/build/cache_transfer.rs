//! Caches carried from one data root to another, and what bad ones do: nothing.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Outcome, Project, RUNS, needs};

/// Two stages, times in their results, a file from one in the other.
const DOCKERFILE: &str = "FROM busybox AS make\n\
    COPY src /src\n\
    RUN cat /src/* > /all; date +%s%N > /stamp; cat /proc/sys/kernel/random/uuid > /id\n\
    FROM busybox\n\
    COPY --from=make /all /id /\n\
    RUN cp /all /copy && cat /proc/sys/kernel/random/uuid > /own\n\
    LABEL l=1\n";
const STEPS: [&str; 4] = [
    "COPY src /src",
    "RUN cat /src/* > /all; date +%s%N > /stamp; cat /proc/sys/kernel/random/uuid > /id",
    "COPY --from=make /all /id /",
    "RUN cp /all /copy && cat /proc/sys/kernel/random/uuid > /own",
];

fn project() -> Project {
    let project = Project::on_busybox(DOCKERFILE);
    project.file("src/a", "a\n");
    project.file("src/b", "b\n");
    project
}

fn to(dir: &Path, more: &str) -> String {
    format!("--cache-to=type=local,dest={}{more}", dir.display())
}

fn from(dir: &Path) -> String {
    format!("--cache-from=type=local,src={}", dir.display())
}

/// A project that has been built, and its cache of everything.
fn exported(more: &str) -> (Project, PathBuf) {
    let project = project();
    let dir = project.home().scratch().join("cache");
    let outcome = project.build(&[&to(&dir, more)]);
    assert_eq!(outcome.ended("DONE"), STEPS);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
    (project, dir)
}

/// The same project on an empty data root, in another directory.
fn elsewhere() -> Project {
    project()
}

/// The warnings at the end of a build.
fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines();
    lines.filter(|line| line.starts_with(" - ")).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_runs_on_an_empty_data_root() {
    if !needs(&RUNS) {
        return;
    }
    for mode in [",mode=max", ",mode=min", ",mode=max,compression=gzip"] {
        let (project, dir) = exported(mode);
        let other = elsewhere();
        let outcome = other.build(&[&from(&dir)]);
        // With `min` the first stage is unknown and not needed either.
        assert_eq!(outcome.ended("DONE"), [""; 0], "{mode}");
        assert_eq!(other.image().id, project.image().id, "{mode}");
        assert_eq!(other.tree(), project.tree(), "{mode}");
        // What was imported is a cache like any other.
        std::fs::remove_dir_all(&dir).unwrap();
        let outcome = other.build(&[]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "{mode}");
        other.assert_tidy();
    }
}

#[test]
fn only_layers_that_are_needed_are_fetched() {
    if !needs(&RUNS) {
        return;
    }
    let (_project, dir) = exported(",mode=max");
    let other = elsewhere();
    let outcome = other.build(&[&from(&dir), "--explain-cache"]);
    assert_eq!(outcome.ended("CACHED"), STEPS);
    assert!(
        outcome.stderr.contains("nothing fetched"),
        "{}",
        outcome.stderr
    );
    // The image's own two layers and the base's.
    assert_eq!(other.store().snapshot_list().unwrap().len(), 3);
    // A changed file needs what the first stage is made on, and no more.
    let third = elsewhere();
    let text = DOCKERFILE.replace("RUN cp /all /copy", "RUN cp /all /other");
    third.file("Dockerfile", &text);
    let outcome = third.build(&[&from(&dir)]);
    assert_eq!(outcome.ended("CACHED"), STEPS[..3]);
    assert_eq!(outcome.ended("DONE").len(), 1);
    assert_eq!(third.store().snapshot_list().unwrap().len(), 3);
}

#[test]
fn a_changed_file_is_a_miss_there_too() {
    if !needs(&RUNS) {
        return;
    }
    let (project, dir) = exported(",mode=max");
    let id = project.tree().text("id");
    let other = elsewhere();
    other.file("src/b", "B\n");
    let outcome = other.build(&[&from(&dir)]);
    assert_eq!(outcome.ended("DONE"), STEPS);
    assert_ne!(other.tree().text("id"), id);
    // A step that is run again and gives the same lets those after it be found.
    let third = elsewhere();
    let text = "FROM busybox AS make\nRUN echo one > /one\nFROM busybox\n\
                COPY --from=make /one /\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
    third.file("Dockerfile", text);
    third.build(&[&to(&dir, ",mode=max")]);
    let fourth = elsewhere();
    fourth.file(
        "Dockerfile",
        text.replace("RUN echo one", "RUN printf 'one\\n'"),
    );
    let outcome = fourth.build(&[&from(&dir)]);
    assert_eq!(outcome.ended("DONE"), ["RUN printf 'one\\n' > /one"]);
    assert_eq!(fourth.tree().text("id"), third.tree().text("id"));
}

#[test]
fn several_sources_and_targets_add_up() {
    if !needs(&RUNS) {
        return;
    }
    let (project, first) = exported(",mode=min");
    let scratch = project.home().scratch();
    let (second, third) = (scratch.join("second"), scratch.join("third"));
    // Everything was there, and is carried on as it is.
    let other = elsewhere();
    let outcome = other.build(&[
        &from(&scratch.join("nowhere")),
        &from(&first),
        &to(&second, ",mode=max"),
        &to(&third, ""),
    ]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert_eq!(warnings(&outcome).len(), 1, "{}", outcome.stderr);
    for dir in [&second, &third] {
        let last = elsewhere();
        let outcome = last.build(&[&from(dir)]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "{dir:?}");
        assert_eq!(last.image().id, project.image().id);
    }
}

#[test]
fn what_is_there_is_not_written_again_and_reset_removes_the_rest() {
    if !needs(&RUNS) {
        return;
    }
    let (project, dir) = exported(",mode=max");
    let before = files(&dir);
    let times = |files: &[PathBuf]| -> Vec<_> {
        let time = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
        files.iter().map(time).collect()
    };
    let written = times(&before);
    project.build(&[&to(&dir, ",mode=max")]);
    assert_eq!(files(&dir), before);
    assert_eq!(times(&before), written);
    project.file("Dockerfile", "FROM busybox\nRUN echo small > /small\n");
    project.build(&[&to(&dir, "")]);
    assert!(files(&dir).len() > before.len());
    project.build(&[&to(&dir, ",reset=true")]);
    // The mark, a blob, its layer, the step and its second name.
    assert_eq!(files(&dir).len(), 5, "{:?}", files(&dir));
    let other = elsewhere();
    other.file("Dockerfile", "FROM busybox\nRUN echo small > /small\n");
    assert_eq!(other.build(&[&from(&dir)]).ended("DONE"), [""; 0]);
}

/// What is done to each file of a cache.
type Damage = (&'static str, fn(&Path));

#[test]
fn a_damaged_cache_is_no_cache_and_is_mended_by_the_next_export() {
    if !needs(&RUNS) {
        return;
    }
    let damages: [Damage; 6] = [
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("truncated", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("garbage", |path| {
            std::fs::write(path, "{\"version\": nonsense \u{fffd}").unwrap();
        }),
        ("changed", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            for place in [0, bytes.len() / 2] {
                bytes[place] ^= 1;
            }
            std::fs::write(path, bytes).unwrap();
        }),
        ("link", |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ];
    let (_project, dir) = exported(",mode=max");
    for (name, damage) in damages {
        for part in ["blobs", "records/step", "records/layer"] {
            for file in files(&dir.join(part)) {
                damage(&file);
            }
            let other = elsewhere();
            let outcome = other.build(&[&from(&dir), &to(&dir, ",mode=max")]);
            assert_eq!(outcome.ended("DONE"), STEPS, "{name} {part}");
            let said = warnings(&outcome);
            // A step that is not there is simply not there.
            let expected = usize::from((name, part) != ("missing", "records/step"));
            let link = name == "link" && part == "records/step";
            assert!(said.len() == expected || link, "{name} {part}: {said:?}");
            let third = elsewhere();
            let outcome = third.build(&[&from(&dir)]);
            assert_eq!(outcome.ended("DONE"), [""; 0], "mended: {name} {part}");
            assert!(warnings(&outcome).is_empty(), "mended: {name} {part}");
            assert_eq!(third.image().id, other.image().id);
        }
    }
}

#[test]
fn other_directories_are_left_alone() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let scratch = project.home().scratch();
    let foreign = scratch.join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "mine").unwrap();
    let outcome = project.build(&[&to(&foreign, ",mode=max,reset=1"), &from(&foreign)]);
    assert_eq!(warnings(&outcome).len(), 2, "{}", outcome.stderr);
    assert_eq!(files(&foreign).len(), 1);
    project
        .try_build(&[&to(&foreign, ",ignore-error=false")])
        .fails(1, "the directory is not empty and no cache");
    // Links in a cache lead nowhere.
    let cache = scratch.join("cache");
    project.build(&[&to(&cache, "")]);
    std::fs::remove_dir_all(cache.join("blobs")).unwrap();
    symlink(&foreign, cache.join("blobs")).unwrap();
    let outcome = project.build(&[&to(&cache, ",mode=max")]);
    assert_eq!(warnings(&outcome).len(), 1, "{}", outcome.stderr);
    assert_eq!(files(&foreign).len(), 1);
    project.assert_tidy();
}

#[test]
fn steps_that_succeeded_are_kept_and_exported_when_the_build_fails() {
    if !needs(&RUNS) {
        return;
    }
    let text = |last: &str| {
        format!(
            "FROM busybox AS other\nRUN echo o > /o\nFROM busybox\nRUN echo 1 > /1\nCOPY --from=other /o /\n{last}\n"
        )
    };
    let project = Project::on_busybox(&text("RUN exit 3"));
    let dir = project.home().scratch().join("cache");
    project
        .try_build(&[&to(&dir, ",mode=max")])
        .fails(1, "exit code: 3");
    project.assert_tidy();
    let other = Project::on_busybox(&text("RUN echo done > /done"));
    let outcome = other.build(&[&from(&dir)]);
    assert_eq!(outcome.ended("DONE"), ["RUN echo done > /done"]);
    assert_eq!(outcome.ended("CACHED").len(), 3);
    project.file("Dockerfile", text("RUN echo done > /done"));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("DONE"), ["RUN echo done > /done"]);
}

#[test]
fn a_killed_export_leaves_a_cache_that_can_be_used() {
    if !needs(&RUNS) {
        return;
    }
    let text = "FROM busybox\nRUN for i in $(seq 40); do head -c 100000 /dev/urandom > /f$i; done\n\
                RUN echo 2 > /2\nRUN head -c 3000000 /dev/urandom > /3\nCOPY src /src\n";
    let project = Project::on_busybox(text);
    project.file("src/a", "a");
    project.build(&[]);
    let scratch = project.home().scratch();
    for round in 0..8 {
        let dir = scratch.join(format!("cache{round}"));
        let mut child = project.start(&[&to(&dir, ",mode=max,compression=gzip")]);
        std::thread::sleep(Duration::from_millis(10 + 30 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let other = Project::on_busybox(text);
        other.file("src/a", "a");
        let outcome = other.build(&[&from(&dir)]);
        // There may be no cache yet; there is never half of one.
        let said = warnings(&outcome);
        let harmless = said.iter().all(|line| line.contains("there is no cache"));
        assert!(harmless, "{said:?}");
        project.build(&[&to(&dir, ",mode=max")]);
        let third = Project::on_busybox(text);
        third.file("src/a", "a");
        let outcome = third.build(&[&from(&dir)]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "round {round}");
        assert_eq!(third.image().id, project.image().id);
    }
}

#[test]
fn builds_may_export_to_one_directory_at_the_same_time() {
    if !needs(&RUNS) {
        return;
    }
    let home = project();
    let dir = home.home().scratch().join("cache");
    let projects: Vec<Project> = (0..3).map(|_| elsewhere()).collect();
    let children: Vec<_> = projects
        .iter()
        .map(|project| project.start(&[&to(&dir, ",mode=max")]))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let last = elsewhere();
    let outcome = last.build(&[&from(&dir)]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
}

#[test]
fn stages_of_the_filter_run_and_those_after_them_go_by_content() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS same\nRUN echo same > /same\n\
         FROM busybox AS other\nRUN cat /proc/sys/kernel/random/uuid > /other\n\
         FROM busybox\nCOPY --from=same /same /\nRUN cat /proc/sys/kernel/random/uuid > /first\n\
         COPY --from=other /other /\nRUN cat /other > /last\n",
    );
    project.build(&[]);
    let before = project.tree();
    let outcome = project.build(&["--no-cache-filter", "SAME"]);
    assert_eq!(outcome.ended("DONE"), ["RUN echo same > /same"]);
    assert_eq!(project.tree().files(), before.files());
    let outcome = project.build(&["--no-cache-filter=same,other", "--explain-cache"]);
    assert_eq!(outcome.ended("DONE").len(), 4, "{}", outcome.stderr);
    let tree = project.tree();
    assert_eq!(tree.text("first"), before.text("first"));
    assert_ne!(tree.text("other"), before.text("other"));
    assert_eq!(tree.text("last"), tree.text("other"));
    assert!(outcome.stderr.contains("--no-cache-filter names its stage"));
    assert!(
        outcome.stderr.contains("was made anew"),
        "{}",
        outcome.stderr
    );
    // Its results took the place of the old ones.
    assert_eq!(project.build(&[]).ended("DONE"), [""; 0]);
    assert_eq!(project.tree().files(), tree.files());
    let outcome = project.build(&["--no-cache-filter=stage-2"]);
    assert_eq!(outcome.ended("DONE").len(), 4, "{}", outcome.stderr);
}

#[test]
fn places_that_are_not_there_yet_are_named() {
    let project = Project::from_scratch("FROM scratch\n");
    for (flag, part) in [
        ("--cache-to=type=registry", "requires `ref`"),
        ("--cache-from=type=gha", "type=gha"),
        ("--cache-to=type=azblob,name=x", "type=azblob"),
        ("--cache-from=type=inline", "a target alone"),
        ("--cache-from=type=local,dest=x", "requires `src`"),
        ("--cache-max-size=huge", "invalid size"),
    ] {
        let outcome = project.try_build(&[flag]);
        assert_ne!(outcome.code, 0, "{flag}");
        assert!(outcome.stderr.contains(part), "{flag}: {}", outcome.stderr);
    }
}

#[test]
fn cache_mounts_are_carried_by_id() {
    if !needs(&RUNS) {
        return;
    }
    let text = |word: &str| {
        format!(
            "FROM busybox\n\
             RUN --mount=type=cache,id=small,target=/s --mount=type=cache,target=/big,mode=0700,uid=7 \
             ls /s /big; echo {word} >> /s/{word}; ln -sf {word} /s/link; \
             mkdir -p /s/deep; chown 5:6 /s/deep; head -c 100000 /dev/urandom > /big/{word}; \
             for w in one two three; do test ! -f /s/$w || cat /s/$w; done > /seen\n"
        )
    };
    let project = Project::on_busybox(&text("one"));
    let scratch = project.home().scratch();
    let dir = scratch.join("cache");
    project.build(&[&to(&dir, ",mounts=all,mode=max")]);
    // On an empty data root the step is found; a changed one finds the mounts.
    let other = Project::on_busybox(&text("two"));
    let outcome = other.build(&[&from(&dir)]);
    assert!(
        outcome.stderr.contains("cache mount small imported"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("cache mount /big imported"),
        "{}",
        outcome.stderr
    );
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
    assert_eq!(other.tree().text("seen"), "one\ntwo\n");
    for row in other.store().cache_mounts().unwrap() {
        let names: Vec<_> = files(&row.path);
        assert_eq!(
            names.len(),
            if row.key == "small" { 3 } else { 2 },
            "{names:?}"
        );
    }
    // One that is in use already is left as it is.
    let outcome = other.build(&["--no-cache", &from(&dir)]);
    assert!(
        !outcome.stderr.contains("small imported"),
        "{}",
        outcome.stderr
    );
    // By name and up to a limit.
    let (named, limited) = (scratch.join("named"), scratch.join("limited"));
    project.build(&[
        &to(&named, ",mounts=small"),
        &to(&limited, ",mounts=all,mounts-max=1k"),
    ]);
    for dir in [&named, &limited] {
        assert_eq!(files(&dir.join("records/mount")).len(), 1, "{dir:?}");
    }
    // A damaged one is none.
    for blob in files(&named.join("blobs")) {
        std::fs::write(blob, "no tar").unwrap();
    }
    let third = Project::on_busybox(&text("three"));
    let outcome = third.build(&[&from(&named)]);
    assert_eq!(warnings(&outcome).len(), 1, "{}", outcome.stderr);
    assert_eq!(third.tree().text("seen"), "three\n");
    third.assert_tidy();
}

#[test]
fn cache_mounts_are_listed_and_pruned() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN --mount=type=cache,id=m,target=/m head -c 50000 /dev/zero > /m/f\n",
    );
    project.build(&[]);
    let list = |project: &Project| -> String {
        let arguments = [
            "du",
            "--filter=type=exec.cachemount",
            "--format={{.ID}} {{.Size}} {{.Description}}",
        ];
        project.home().run(&arguments).ok().to_owned()
    };
    assert_eq!(list(&project), "mount-1* 50kB cache mount m");
    project
        .home()
        .run(&["prune", "-f", "--filter=type=regular"])
        .ok();
    assert_eq!(list(&project), "mount-1* 50kB cache mount m");
    project.home().run(&["builder", "pin", "mount-1"]).ok();
    project.home().run(&["prune", "-af"]).ok();
    assert_eq!(list(&project), "mount-1* 50kB cache mount m");
    project.home().run(&["builder", "unpin", "mount-1"]).ok();
    let pruned = project
        .home()
        .run(&["prune", "-f", "--filter=type=exec.cachemount"]);
    assert!(pruned.ok().ends_with("Total:\t50kB"), "{pruned:?}");
    assert_eq!(list(&project), "");
}
