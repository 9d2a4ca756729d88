//! ADD: archives are extracted, whatever is in them.

use super::archives::{Item, archive, compressed};
use super::{FILES, Project, RUNS, needs};

#[test]
fn archives_of_every_compression_are_extracted() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let plain = archive(&[
        Item::dir("d/").owned(0o711, 3, 4),
        Item::file("d/f", "x").owned(0o4755, 5, 6),
        Item::symlink("d/l", "f"),
        Item::hard_link("twin", "d/f"),
        Item::device("null"),
    ]);
    for (name, bytes) in compressed(&plain) {
        // Told by content, so the name must not matter.
        project.file("some.bin", bytes);
        let tree = project.tree_of("FROM scratch\nADD some.bin /to/here\n");
        assert_eq!(tree.meta("to/here"), "d0755 0:0", "{name}");
        assert_eq!(tree.meta("to/here/d"), "d0711 3:4", "{name}");
        assert_eq!(tree.meta("to/here/d/f"), "-4755 5:6", "{name}");
        assert_eq!(tree.text("to/here/d/l"), "f");
        assert_eq!(tree.text("to/here/twin"), "x");
        assert_eq!(tree.meta("to/here/null"), "c0644 0:0");
        assert_eq!(tree.mtime("to/here/d/f"), 1_000_000_000);
    }
}

#[test]
fn only_add_extracts_and_only_when_asked() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("a.tar", archive(&[Item::file("f", "x")]));
    project.file("plain", "y");
    let tree = project.tree_of("FROM scratch\nCOPY a.tar /\nADD --unpack=false a.tar /b.tar\n");
    assert!(tree.has("a.tar") && tree.has("b.tar") && !tree.has("f"));
    let tree = project.tree_of("FROM scratch\nADD --chown=8:9 a.tar plain /d/\nADD plain /e\n");
    assert_eq!(tree.files(), ["d/f=x", "d/plain=y", "e=y"]);
    assert_eq!(tree.meta("d/f"), "-0644 8:9");
    let tree = project.tree_of("FROM scratch\nADD *.tar /d/\n");
    assert_eq!(tree.files(), ["d/f=x"]);
}

#[test]
fn extracting_goes_over_what_is_there() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("tree/f", "old");
    project.file("tree/dir/kept", "k");
    project.file("tree/becomes-file/x", "");
    project.link("tree/link", "dir");
    let items = [
        Item::file("f", "new"),
        Item::file("link/through", "t"),
        Item::dir("dir"),
        Item::file("becomes-file", "now"),
        Item::file("twice", "1"),
        Item::file("twice", "2"),
    ];
    project.file("a.tar", archive(&items));
    let tree = project.tree_of("FROM scratch\nCOPY tree /\nADD a.tar /\n");
    let expected = [
        "becomes-file=now",
        "dir/kept=k",
        "dir/through=t",
        "f=new",
        "link->dir",
        "twice=2",
    ];
    assert_eq!(tree.files(), expected);
}

#[test]
fn hostile_entries_are_refused_or_stay_inside() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let witness = project.home().file("witness", "untouched");
    let outside = witness.to_str().unwrap();
    let refused = [
        vec![Item::file("../escape", "x")],
        vec![Item::file("a/../../escape", "x")],
        vec![Item::hard_link("link", "../../../../../../etc/passwd")],
        vec![Item::hard_link("link", "missing")],
    ];
    for items in refused {
        project.file("a.tar", archive(&items));
        project.refuses("FROM scratch\nADD a.tar /d/\n", "cannot extract \"/a.tar\"");
    }
    let through = format!("s{outside}");
    let contained = [
        vec![Item::file(outside, "absolute")],
        vec![Item::symlink("s", "/"), Item::file(&through, "x")],
        vec![Item::symlink("s", "../../../.."), Item::file(&through, "x")],
        vec![
            Item::symlink("s", outside),
            Item::file("s", "replaces the link"),
        ],
        vec![Item::symlink("s", outside), Item::hard_link("h", "s")],
        vec![Item::symlink("s", "/"), Item::hard_link("h", &through)],
        vec![Item::device("null"), Item::file("null/x", "x")],
        vec![Item::hard_link("h", outside)],
    ];
    for items in contained {
        project.file("a.tar", archive(&items));
        project.file("Dockerfile", "FROM scratch\nADD a.tar /d/\n");
        let outcome = project.try_build(&[]);
        if outcome.code == 0 {
            let held = project.tree().files();
            assert!(
                !held.iter().any(|file| file.contains("untouched")),
                "{held:?}"
            );
        } else {
            outcome.fails(1, "cannot extract \"/a.tar\"");
        }
        project.assert_tidy();
    }
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), "untouched");
    assert!(!project.home().root().join("escape").exists());
}

#[test]
fn damaged_archives_are_refused_and_the_store_stays() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let mut state = 1_u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 27) as u8 % 26)
    };
    let body: String = (0..150_000).map(noise).collect();
    let other: String = body.chars().rev().collect();
    let plain = archive(&[Item::file("f", &body), Item::file("g", &other)]);
    for (name, bytes) in compressed(&plain) {
        // The head is right, so it counts as an archive.
        project.file("a.bin", &bytes[..bytes.len() / 4 * 3]);
        project.refuses("FROM scratch\nADD a.bin /d/\n", "cannot extract \"/a.bin\"");
        let outcome = project
            .home()
            .run_with(&["load"], &bytes[..bytes.len() / 2]);
        assert_eq!(outcome.code, 1, "{name}: {outcome:?}");
        project.assert_tidy();
    }
    let mut broken = plain.clone();
    let second = 512 + body.len().div_ceil(512) * 512;
    broken[second..second + 100].fill(0xff);
    project.file("a.bin", &broken);
    project.refuses("FROM scratch\nADD a.bin /d/\n", "the archive is damaged");
    project.tree_of("FROM scratch\nCOPY a.bin /\n");
}

#[test]
fn archives_of_many_and_deep_entries_are_extracted() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::in_memory("FROM scratch\nADD many.tar /\nADD deep.tar /\n");
    let many: Vec<Item> = (0..100_000)
        .map(|n| Item::file(&format!("d/{n}"), ""))
        .collect();
    project.file("many.tar", archive(&many));
    let deep = vec!["d"; 400].join("/");
    let end = Item::file(&format!("{deep}/end"), "here");
    project.file("deep.tar", archive(&[end]));
    project.try_build(&[]).ok();
    let tree = project.tree();
    assert_eq!(tree.len(), 100_000 + 400 + 1);
    assert_eq!(tree.text(&format!("{deep}/end")), "here");
    let too_deep = vec!["d"; 1500].join("/");
    project.file("deep.tar", archive(&[Item::file(&too_deep, "")]));
    project
        .try_build(&[])
        .fails(1, "more than 1000 path components");
    project.assert_tidy();
}

#[test]
fn extracted_files_run() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nADD a.tar /opt\nRUN /opt/tool > /said\n");
    let tool = Item::file("tool", "#!/bin/sh\necho hello\n").owned(0o755, 0, 0);
    project.file("a.tar", archive(&[tool]));
    project.build(&[]);
    assert_eq!(project.tree().text("said"), "hello\n");
}

#[test]
fn sources_come_one_after_the_other_and_are_found_again() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file(
        "t.tar",
        archive(&[Item::file("f", "in"), Item::file("g", "in")]),
    );
    project.file("f", "out");
    for (sources, expected) in [("t.tar f", "out"), ("f t.tar", "in")] {
        let text = format!("FROM scratch\nADD {sources} /d/\n");
        let tree = project.tree_of(&text);
        assert_eq!(
            tree.files(),
            [&format!("d/f={expected}"), "d/g=in"],
            "{sources}"
        );
        assert_eq!(project.build(&[]).ended("DONE"), [""; 0], "{sources}");
    }
}
