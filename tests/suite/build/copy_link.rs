//! COPY and ADD with `--link`: layers that do not depend on what they stand on.

use std::os::unix::fs::MetadataExt;

use rbuild::snapshot;
use rbuild::store::SnapshotRow;

use super::archives::{Item, archive};
use super::{FILES, Project, RUNS, needs};

/// The layers of the last build's image, bottom first.
fn layers(project: &Project) -> Vec<SnapshotRow> {
    let store = project.store();
    let image = project.image();
    let top = rbuild::oci::ChainId::of(&image.config.rootfs.diff_ids).unwrap();
    let top = store.snapshot_by_chain(top).unwrap().unwrap();
    let mut stack = store.snapshot_stack(top.id).unwrap();
    stack.reverse();
    stack
}

#[test]
fn another_parent_costs_nothing() {
    if !needs(&RUNS) {
        return;
    }
    let text = |first: &str| {
        format!(
            "FROM busybox\nRUN {first}\nCOPY --link --chown=5 d /d/\nRUN cat /first /d/f > /out\n"
        )
    };
    let project = Project::on_busybox(&text("echo 1 > /first"));
    project.file("d/f", "x\n");
    let outcome = project.build(&[]);
    let link = "LINK COPY --link --chown=5 d /d/";
    // The copy waits for nothing, so it may be done before the first step.
    let done = outcome.ended("DONE");
    assert_eq!(done.len(), 4);
    assert_eq!(done[2..], [link, "RUN cat /first /d/f > /out"]);
    let before = layers(&project);
    let file = |rows: &[SnapshotRow]| {
        let path = snapshot::layer_dir(&project.store(), rows[2].id).join("d/f");
        std::fs::metadata(path).unwrap()
    };
    project.file("Dockerfile", text("echo 2 > /first"));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), ["COPY --link --chown=5 d /d/"]);
    assert!(outcome.ended("DONE").contains(&link.to_owned()));
    let after = layers(&project);
    assert_ne!(before[2].id, after[2].id);
    assert_eq!(before[2].diff_id, after[2].diff_id);
    assert_eq!(
        file(&before).ino(),
        file(&after).ino(),
        "no file is made anew"
    );
    assert_eq!(file(&after).nlink(), 1, "nor linked");
    assert_eq!(project.tree().text("out"), "2\nx\n");
    assert_eq!(project.tree().meta("d/f"), "-0644 5:5");
    assert_eq!(project.build(&[]).ended("DONE"), [""; 0]);
    let history = project.config()["history"].clone();
    let history = history.as_array().unwrap();
    assert_eq!(
        history[history.len() - 2]["created_by"],
        "COPY --chown=5 d /d/ # buildkit"
    );
    project.assert_valid();
    project.assert_tidy();
}

#[test]
fn a_changed_file_changes_the_layer_alone() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN echo 1 > /first\nCOPY --link d /d/\nCOPY --link e /e/\n",
    );
    project.file("d/f", "x");
    project.file("e/f", "y");
    project.build(&[]);
    project.file("d/f", "z");
    let outcome = project.build(&["--explain-cache"]);
    assert_eq!(
        outcome.ended("DONE"),
        [
            "COPY --link d /d/",
            "LINK COPY --link d /d/",
            "LINK COPY --link e /e/"
        ]
    );
    assert!(
        outcome.stderr.contains("/d/f changed"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("what it links has changed"),
        "{}",
        outcome.stderr
    );
    assert_eq!(project.tree().text("d/f"), "z");
    // The same content from elsewhere: everything above is found again.
    project.file("d/f", "x");
    assert_eq!(project.build(&[]).ended("DONE"), [""; 0]);
}

#[test]
fn the_parents_links_and_directories_do_not_matter() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("one", "1");
    project.file("base/real/there", "t");
    project.file("base/file/inside", "gone");
    project.link("base/in", "real");
    let base = "FROM scratch\nCOPY --chmod=700 --chown=9 base /\n";
    let tree = project.tree_of(&format!("{base}COPY --link one /in/x\n"));
    assert_eq!(tree.text("in/x"), "1");
    assert_eq!(tree.meta("in"), "d0755 0:0");
    assert!(!tree.has("real/x"));
    let tree = project.tree_of(&format!("{base}COPY --link one /real/\n"));
    assert_eq!(tree.meta("real"), "d0755 0:0");
    assert_eq!(tree.meta("real/there"), "-0700 9:9");
    let tree = project.tree_of(&format!("{base}COPY --link one /file\n"));
    assert_eq!(tree.files(), ["file=1", "in->real", "real/there=t"]);
    // With a mode there is no link, as with BuildKit.
    let tree = project.tree_of(&format!("{base}COPY --link --chmod=640 one /in/x\n"));
    assert_eq!(tree.meta("real/x"), "-0640 0:0");
    // On nothing there is nothing to link to.
    let tree = project.tree_of("FROM scratch\nWORKDIR /w\nCOPY --link one .\nADD --link one /x\n");
    assert_eq!(tree.files(), ["w/one=1", "x=1"]);
}

#[test]
fn names_are_those_of_the_parent() {
    if !needs(&RUNS) {
        return;
    }
    let text = |uid: u32, note: u32| {
        format!(
            "FROM busybox\nRUN echo app:x:{uid}:{uid}::/:/bin/sh > /etc/passwd && echo {note} > /n\n\
             COPY --link --chown=app f /f\n"
        )
    };
    let copy = "COPY --link --chown=app f /f";
    let project = Project::on_busybox(&text(77, 1));
    project.file("f", "x");
    project.build(&[]);
    assert_eq!(project.tree().meta("f"), "-0644 77:77");
    project.file("Dockerfile", text(77, 2));
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), [copy], "the same numbers");
    project.file("Dockerfile", text(78, 2));
    let outcome = project.build(&[]);
    assert!(outcome.ended("DONE").contains(&copy.to_owned()));
    assert_eq!(project.tree().meta("f"), "-0644 78:78");
    project.refuses(
        "FROM busybox\nCOPY --link --chown=nobody9 f /f\n",
        "nobody9",
    );
}

#[test]
fn linked_layers_are_run_on_copied_from_and_stacked_twice() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS one\nRUN chmod 711 / && echo old > /f\nCOPY --link f /f\n\
         RUN stat -c %a / > /mode; rm /f; cat /d/a >> /mode; echo\nCOPY --link f /f\nADD --link t.tar /d/\n\
         RUN cat /f /d/a >> /mode; stat -c %a / >> /mode\n\
         FROM one\nCOPY --link --from=one /d /copied\nCOPY --link --from=one /d/a /f /copied/\n\
         RUN ls /copied /d > /list\n",
    );
    project.file("f", "new\n");
    project.file(
        "t.tar",
        archive(&[Item::file("a", "in\n"), Item::file("b", "b")]),
    );
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.text("mode"), "711\nnew\nin\n711\n");
    assert_eq!(tree.text("list"), "/copied:\na\nb\nf\n\n/d:\na\nb\n");
    assert_eq!(tree.text("f"), "new\n");
    let save = project.home().scratch().join("saved.tar");
    project
        .home()
        .run(&["save", "-o", save.to_str().unwrap(), "result"])
        .ok();
    project.assert_valid();
    project.assert_tidy();
}

#[test]
fn a_linked_layer_stays_as_long_as_an_image_needs_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nCOPY --link f /f\n");
    project.file("f", "x");
    project.build(&[]);
    let rows = layers(&project);
    let row = rows.last().unwrap();
    let holder = row.layer.unwrap();
    let store = project.store();
    // Whatever was made within the last minute stays, so its age is set back.
    let db = rusqlite::Connection::open(store.paths().index()).unwrap();
    db.execute("UPDATE snapshots SET created_at = 0", [])
        .unwrap();
    drop(db);
    project.home().run(&["builder", "prune", "-af"]).ok();
    assert!(store.snapshot_get(holder).unwrap().is_some());
    assert_eq!(project.tree().text("f"), "x");
    project.assert_valid();
    project.home().run(&["rmi", "result"]).ok();
    let left = store.snapshot_list().unwrap();
    assert!(
        left.iter()
            .all(|row| row.id != holder && row.layer.is_none()),
        "{left:?}"
    );
    project.assert_tidy();
}
