//! A full disk: the build says so, and the store works again once there is room.

use super::{FILES, Project, RUNS, needs};

/// Runs the program on a small file system of its own, mounted in a mount
/// namespace that goes with the script. `$@` is the program with its options,
/// `$root` the data root, `$context` a directory.
#[track_caller]
fn on_small_disk(project: &Project, script: &str) -> String {
    let home = project.home();
    let root = home.root();
    std::fs::create_dir_all(&root).unwrap();
    let prologue = format!(
        "set -u\nroot={}\ncontext={}\nscratch={}\n\
         mount --make-rprivate / && mount -t tmpfs -o size=12m,mode=700 tmpfs $root || exit 99\n{script}",
        root.display(),
        project.context().display(),
        home.scratch().display(),
    );
    let wrapper = ["unshare", "--mount", "sh", "-c", &prologue, "sh"];
    let outcome = home.run_in::<&str>(&wrapper, &[]);
    outcome.ok();
    outcome.text().to_owned() + "\n" + &outcome.stderr
}

#[test]
fn a_copy_that_does_not_fit_is_told_and_undone() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("small", "s");
    project.file("large", vec![b'x'; 20 << 20]);
    project.file("many/0", vec![b'y'; 900 << 10]);
    for at in 1..25 {
        project.file(&format!("many/{at}"), vec![b'z'; 900 << 10]);
    }
    project.file("fits.Dockerfile", "FROM scratch\nCOPY small /\n");
    for source in ["large", "many"] {
        project.file(
            "Dockerfile",
            format!("FROM scratch\nCOPY small /\nCOPY {source} /\n"),
        );
        let said = on_small_disk(
            &project,
            r#""$@" build --progress=plain "$context" && exit 1
            ls "$root/snapshots" | wc -l
            "$@" build -q -t after -f "$context/fits.Dockerfile" "$context" || exit 2
            "$@" save after | tar -t > /dev/null || exit 3
            ls "$root/tmp" | wc -l"#,
        );
        assert!(
            said.to_lowercase().contains("no space left on device"),
            "{said}"
        );
        assert!(said.starts_with("1\n"), "the failed step is gone: {said}");
        assert_eq!(said.lines().nth(2), Some("0"), "{said}");
    }
}

#[test]
fn a_step_that_fills_the_disk_is_told_and_undone() {
    if !needs(&RUNS) {
        return;
    }
    let project =
        Project::from_scratch("FROM busybox\nRUN dd if=/dev/zero of=/large bs=1M count=20\n");
    project
        .home()
        .file("busybox.tar", crate::support::busybox_archive());
    project.file("fits.Dockerfile", "FROM busybox\nRUN echo 1 > /fits\n");
    let said = on_small_disk(
        &project,
        r#""$@" load -q -i "$scratch/busybox.tar" || exit 4
        "$@" build --network=none --progress=plain "$context" && exit 1
        "$@" build --network=none -q -f "$context/fits.Dockerfile" "$context" || exit 2
        ls "$root/snapshots" | wc -l"#,
    );
    assert!(
        said.to_lowercase().contains("no space left on device"),
        "{said}"
    );
    assert!(said.contains("exit code: 1"), "{said}");
    assert_eq!(said.lines().nth(2), Some("2"), "{said}");
}

#[test]
fn a_disk_that_is_full_already_is_told() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY small /\n");
    project.file("small", "s");
    let said = on_small_disk(
        &project,
        r#""$@" images -q || exit 4
        dd if=/dev/zero of="$root/filler" bs=64k 2>/dev/null
        "$@" build -q "$context" && exit 1
        rm "$root/filler"
        "$@" build -q "$context" || exit 2"#,
    );
    let said = said.to_lowercase();
    let told = ["no space left on device", "disk is full", "disk i/o error"];
    assert!(told.iter().any(|part| said.contains(part)), "{said}");
}
