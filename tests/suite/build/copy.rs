//! COPY: what is selected, where it goes, and with which metadata.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::archives::{Item, archive};
use super::{FILES, Project, RUNS, needs};

/// The context of the reference's worked examples.
fn examples() -> Project {
    let project = Project::from_scratch("");
    for (name, content) in [
        ("foo.go", "f"),
        ("bar.go", "b"),
        ("one", "1"),
        ("sub/dir1/dir2/foo", "deep"),
        ("sub/top", "t"),
        ("subfile", "s"),
        ("bar/inside", "i"),
        ("other/inside", "o"),
        (".hidden", "h"),
    ] {
        project.file(name, content);
    }
    project.link("l0", "subfile");
    project.link("l1", "/sub/top");
    project.link("to/dir", "../bar");
    project
}

#[test]
fn sources_and_destinations_combine_as_in_buildkit() {
    if !needs(&FILES) {
        return;
    }
    let project = examples();
    let cases: &[(&str, &[&str])] = &[
        ("COPY *.go /g/", &["g/bar.go=b", "g/foo.go=f"]),
        ("COPY f*.go x.go", &["x.go=f"]),
        ("COPY f??.go /q/", &["q/foo.go=f"]),
        ("COPY [a-e]*.go /q/", &["q/bar.go=b"]),
        ("COPY [^a-e]*.go /q/", &["q/foo.go=f"]),
        ("COPY sub/* /s/", &["s/dir2/foo=deep", "s/top=t"]),
        ("COPY sub/*/dir2/foo /a/", &["a/foo=deep"]),
        ("COPY sub/*/dir2/foo /a/bar", &["a/bar=deep"]),
        ("COPY sub/dir1/ d", &["d/dir2/foo=deep"]),
        ("COPY sub/dir1/. d", &["d/dir2/foo=deep"]),
        ("COPY sub/dir1 d", &["d/dir2/foo=deep"]),
        ("COPY sub/dir1 d/", &["d/dir2/foo=deep"]),
        ("COPY one nomatch* /", &["one=1"]),
        ("COPY nomatch* /", &[]),
        ("COPY l* out/", &["out/l0=s", "out/l1=t"]),
        ("COPY to/dir in", &["in/inside=i"]),
        ("COPY to in", &["in/dir->../bar"]),
        ("COPY to/dir/inside in", &["in=i"]),
        ("COPY l0 /", &["l0=s"]),
        ("COPY one /deep/er/", &["deep/er/one=1"]),
        ("COPY one /deep/er", &["deep/er=1"]),
        ("COPY ./one /../../x", &["x=1"]),
        ("COPY /one x", &["x=1"]),
        ("COPY one/ x", &["x=1"]),
        ("COPY one .", &["one=1"]),
        ("COPY one ./", &["one=1"]),
        ("COPY .hid* x", &["x=h"]),
        ("COPY one subfile x/", &["x/one=1", "x/subfile=s"]),
        ("COPY bar other x/", &["x/inside=o"]),
        ("WORKDIR /t5/t6\nCOPY one ../", &["t5/one=1"]),
        ("WORKDIR /w\nCOPY one x", &["w/x=1"]),
        ("COPY one /d/\nCOPY subfile /d", &["d/one=1", "d/subfile=s"]),
        ("COPY one x\nCOPY subfile x", &["x=s"]),
        (
            "COPY bar d\nCOPY sub d",
            &["d/dir1/dir2/foo=deep", "d/inside=i", "d/top=t"],
        ),
        ("COPY [\"one\", \"with space\"]", &["with space=1"]),
        (
            "ARG name=one\nENV dir=e\nCOPY $name ${dir}/${name}.txt",
            &["e/one.txt=1"],
        ),
    ];
    for (lines, expected) in cases {
        let tree = project.tree_of(&format!("FROM scratch\n{lines}\n"));
        assert_eq!(tree.files(), *expected, "{lines}");
    }
}

#[test]
fn the_whole_context_is_copied_links_as_links() {
    if !needs(&FILES) {
        return;
    }
    let project = examples();
    let tree = project.tree_of("FROM scratch\nCOPY . all/\n");
    for file in [
        "all/.hidden=h",
        "all/l0->subfile",
        "all/l1->/sub/top",
        "all/to/dir->../bar",
        "all/sub/dir1/dir2/foo=deep",
    ] {
        assert!(tree.files().contains(&file.to_owned()), "{file}: {tree:?}");
    }
    assert!(tree.has("all/Dockerfile"));
}

#[test]
fn what_cannot_be_placed_is_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = examples();
    let cases = [
        ("COPY one x\nCOPY sub x", "cannot copy to non-directory: /x"),
        (
            "COPY one x\nCOPY one x/y",
            "cannot copy to non-directory: /x",
        ),
        (
            "COPY --from=0 / /\n",
            "circular dependency detected on stage: stage-0",
        ),
        (
            "COPY one subfile x",
            "the destination must be a directory and end with a /",
        ),
        ("COPY one missing x/", "\"/missing\": not found"),
        ("COPY [a x", "syntax error in pattern \"[a\""),
    ];
    for (lines, message) in cases {
        project.refuses(&format!("FROM scratch\n{lines}\n"), message);
    }
    project.file("named/x", "");
    project.refuses(
        "FROM scratch\nCOPY named/x d/x/y\nCOPY named d/\n",
        "cannot replace to directory /d/x with file",
    );
}

#[test]
fn modes_and_times_are_kept_and_owners_are_not() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY d /made/\nCOPY d/tool /tool\n");
    let tool = project.file("d/tool", "x");
    let dir = project.file("d/private/file", "y");
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&tool, 0o4751);
    set(dir.parent().unwrap(), 0o1710);
    std::os::unix::fs::chown(dir.parent().unwrap(), Some(1234), Some(1234)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options().write(true).open(&tool).unwrap();
    file.set_modified(time).unwrap();
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.meta("made"), "d0755 0:0");
    assert_eq!(tree.meta("made/tool"), "-4751 0:0");
    assert_eq!(tree.meta("made/private"), "d1710 0:0");
    assert_eq!(tree.mtime("tool"), 1_000_000_000);
}

#[test]
fn chown_takes_names_and_numbers() {
    if !needs(&FILES) {
        return;
    }
    let accounts = "FROM scratch\nCOPY <<EOF /etc/passwd\nroot:x:0:0::/:/bin/sh\n\
                    daemon:x:3:7::/:/bin/sh\nEOF\nCOPY <<EOF /etc/group\nstaff:x:50:\nEOF\n";
    let project = Project::from_scratch("");
    project.file("d/f", "x");
    let cases = [
        ("daemon", "3:7"),
        ("daemon:staff", "3:50"),
        ("daemon:9", "3:9"),
        ("12", "12:12"),
        ("12:staff", "12:50"),
        ("12:34", "12:34"),
        (":staff", "0:50"),
    ];
    for (owner, expected) in cases {
        let tree = project.tree_of(&format!("{accounts}COPY --chown={owner} d /n/m\n"));
        assert_eq!(tree.meta("n"), format!("d0755 {expected}"), "{owner}");
        assert_eq!(tree.meta("n/m/f"), format!("-0644 {expected}"), "{owner}");
    }
    let tree = project.tree_of(&format!(
        "{accounts}ARG who=daemon\nCOPY --chown=$who:staff d /n\n"
    ));
    assert_eq!(tree.meta("n/f"), "-0644 3:50");
    project.refuses(&format!("{accounts}COPY --chown=nobody d /n\n"), "nobody");
    project.refuses(
        &format!("{accounts}COPY --chown=0:nogroup d /n\n"),
        "nogroup",
    );
    project.refuses("FROM scratch\nCOPY --chown=daemon d /n\n", "daemon");
}

#[test]
fn chmod_sets_files_directories_and_made_parents() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("d/e/f", "x");
    let tree = project.tree_of("FROM scratch\nCOPY --chmod=4700 --chown=1:2 d /p/q\n");
    assert_eq!(tree.meta("p/q/e"), "d4700 1:2");
    assert_eq!(tree.meta("p/q/e/f"), "-4700 1:2");
    for wrong in ["999", "17777"] {
        project.refuses(
            &format!("FROM scratch\nCOPY --chmod={wrong} d /p\n"),
            &format!("invalid chmod parameter: '{wrong}'"),
        );
    }
}

#[test]
fn heredocs_become_files() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("one", "1");
    let tree =
        project.tree_of("FROM scratch\nARG who=you\nCOPY <<EOF /greeting\nhello $who\nEOF\n");
    assert_eq!(tree.text("greeting"), "hello you\n");
    let tree = project.tree_of(
        "FROM scratch\nARG who=you\nCOPY --chmod=755 --chown=5 one <<'A' <<-B /d/\nhello $who\nA\n\
         \t\tindented\n\tB\n",
    );
    assert_eq!(
        tree.files(),
        ["d/A=hello $who\n", "d/B=indented\n", "d/one=1"]
    );
    assert_eq!(tree.meta("d/A"), "-0755 5:5");
}

#[test]
fn stages_are_copied_from_by_name_number_and_image() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.file("one", "1");
    let stages = "FROM scratch AS First\nCOPY --chown=100:200 one /dir/sub/one\nFROM scratch\n";
    let tree = project.tree_of(&format!("{stages}COPY --from=first /dir/sub/one /a\n"));
    assert_eq!(tree.meta("a"), "-0644 100:200");
    let tree = project.tree_of(&format!("{stages}COPY --from=0 --chown=3:4 dir/ /new\n"));
    assert_eq!(tree.meta("new"), "d0755 3:4");
    assert_eq!(tree.meta("new/sub/one"), "-0644 3:4");
    let tree = project.tree_of(&format!("{stages}COPY --from=0 /dir /new\n"));
    assert_eq!(tree.meta("new"), "d0755 0:0");
    assert_eq!(tree.meta("new/sub"), "d0755 100:200");
    let tree = project.tree_of("FROM scratch\nCOPY --from=busybox /etc/passwd /etc/gr* /\n");
    assert_eq!(tree.len(), 2);
    assert!(tree.text("passwd").starts_with("root:x:0:0"));
    let tree = project.tree_of("FROM busybox\nCOPY --from=busybox:latest /etc/passwd /bin/copy\n");
    assert!(tree.has("bin/copy") && tree.has("bin/busybox"));
}

#[test]
fn an_existing_destination_keeps_its_own_metadata() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("one", "1");
    let tree = project.tree_of(
        "FROM scratch AS from\nCOPY --chown=1:1 --chmod=700 one /d/sub/new\n\
         FROM scratch\nCOPY --chown=9:9 --chmod=711 one /to/sub/old\nCOPY --from=from /d/. /to\n",
    );
    assert_eq!(tree.meta("to"), "d0711 9:9");
    assert_eq!(tree.meta("to/sub"), "d0700 1:1");
    assert_eq!(tree.meta("to/sub/old"), "-0711 9:9");
    assert_eq!(tree.meta("to/sub/new"), "-0700 1:1");
}

#[test]
fn links_in_the_image_are_followed_and_never_out_of_it() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("one", "1");
    project.link("tree/in", "real/dir");
    project.link("tree/out", "/../../../../real/dir");
    project.link("tree/up", "../../../real");
    project.file("tree/real/dir/there", "t");
    for name in ["in", "out", "up/dir"] {
        let tree = project.tree_of(&format!("FROM scratch\nCOPY tree /\nCOPY one /{name}/x\n"));
        assert_eq!(tree.text("real/dir/x"), "1", "{name}");
    }
    let tree = project.tree_of("FROM scratch\nCOPY tree /\nCOPY one /in\n");
    assert_eq!(tree.text("real/dir/one"), "1");
}

#[test]
fn hard_links_stay_files_of_their_own_content() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let first = project.file("a/f", "same");
    std::fs::hard_link(&first, project.context().join("a/g")).unwrap();
    project.file("b/f", "other");
    let tree = project.tree_of("FROM scratch\nCOPY a /x/\n");
    assert_eq!(tree.files(), ["x/f=same", "x/g=same"]);
    // The name that the link was made under is taken by the second source.
    let tree = project.tree_of("FROM scratch\nCOPY a b /x/\n");
    assert_eq!(tree.files(), ["x/f=other", "x/g=same"]);
    let tree = project.tree_of("FROM scratch\nCOPY a /x/\nCOPY b /x/\n");
    assert_eq!(tree.files(), ["x/f=other", "x/g=same"]);
}

#[test]
fn odd_files_of_the_context_are_copied_as_buildkit_does() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("d/with space\nand line", "x");
    project.file("d/empty", "");
    std::fs::create_dir(project.context().join("d/nothing")).unwrap();
    let context = project.context();
    let socket = std::os::unix::net::UnixListener::bind(context.join("d/socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        context.join("d/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let long = "n".repeat(255);
    project.file(&format!("d/{long}"), "long");
    let tree = project.tree_of("FROM scratch\nCOPY d /\n");
    assert_eq!(tree.text("with space\nand line"), "x");
    assert_eq!(tree.meta("empty"), "-0644 0:0");
    assert_eq!(tree.meta("nothing"), "d0755 0:0");
    assert!(tree.meta("socket").starts_with('-'));
    assert!(tree.meta("pipe").starts_with('p'));
    assert_eq!(tree.text(&long), "long");
    drop(socket);
}

#[test]
fn large_files_are_copied_whole() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY large /\n");
    let bytes: Vec<u8> = (0..3_500_000_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    project.file("large", &bytes);
    project.build(&[]);
    assert!(project.tree().text("large") == String::from_utf8_lossy(&bytes));
}

#[test]
fn names_and_numbers_beyond_plain_tar_survive() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let odd = std::ffi::OsStr::from_bytes(b"src/\xff\xfe");
    project.file("src/old", "o");
    std::fs::write(project.context().join(odd), "odd").unwrap();
    let time = std::time::Duration::from_hours(24);
    let old = project.context().join("src/old");
    let old = std::fs::File::options().write(true).open(old).unwrap();
    old.set_modified(std::time::UNIX_EPOCH - time).unwrap();
    let long = format!("{}/{}", "d".repeat(200), "e".repeat(200));
    project.file(&format!("src/{long}/f"), "far");
    project.link("src/link", &"t".repeat(300));
    let text = "FROM scratch\nCOPY --chown=4000000:2147483647 src /\n";
    let tree = project.tree_of(text);
    assert_eq!(tree.text(&format!("{long}/f")), "far");
    assert_eq!(tree.text("link"), "t".repeat(300));
    assert_eq!(tree.meta("old"), "-0644 4000000:2147483647");
    assert_eq!(tree.text("\u{fffd}\u{fffd}"), "odd");
    // The same comes out of an archive again.
    let home = project.home();
    let id = project.image().id;
    let saved = home.run(&["save", "result"]).stdout;
    home.run(&["rmi", "-f", "result"]).ok();
    home.run_with(&["load"], &saved).ok();
    assert_eq!(project.image().id, id);
    assert_eq!(project.tree(), tree);
}

#[test]
fn a_copy_over_removed_directories_shows_nothing_of_old() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.file("one", "1");
    let tree = project.tree_of(
        "FROM busybox\nRUN mkdir -p /d/e && touch /d/e/old /d/old && ln -s /d /l\nRUN rm -r /d\n\
         COPY one /d/e/\nRUN ls -R /d > /seen\n",
    );
    assert_eq!(tree.text("seen"), "/d:\ne\n\n/d/e:\none\n");
    assert!(!tree.has("d/old") && !tree.has("d/e/old"));
    // A link whose target is gone is made good by making the target.
    let tree = project.tree_of(
        "FROM busybox\nRUN ln -s /missing/dir /l\nCOPY one /l/x\nRUN cat /missing/dir/x > /seen\n",
    );
    assert_eq!(tree.text("seen"), "1");
}

#[test]
fn hard_links_of_stages_and_archives_stay_links() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let body = "b".repeat(100_000);
    let first = project.file("src/b/first", &body);
    for name in ["src/b/second", "src/third"] {
        std::fs::hard_link(&first, project.context().join(name)).unwrap();
    }
    let items = [
        Item::file("z/first", &body),
        Item::hard_link("z/second", "z/first"),
        Item::hard_link("third", "z/first"),
    ];
    project.file("a.tar", archive(&items));
    // Through this link the first name comes after the others.
    project.link("image/b", "zz");
    project.file("image/zz/x", "");
    for (lines, names) in [
        ("COPY --from=src / /", ["b/first", "b/second", "third"]),
        (
            "COPY --from=src / /d/",
            ["d/b/first", "d/b/second", "d/third"],
        ),
        ("COPY --from=src /b /d", ["d/first", "d/second", "d/first"]),
        ("ADD a.tar /", ["z/first", "z/second", "third"]),
        (
            "COPY image /\nADD a.tar /b",
            ["zz/z/first", "zz/z/second", "zz/third"],
        ),
    ] {
        let text = format!("FROM scratch AS src\nCOPY src /\nFROM scratch\n{lines}\n");
        let tree = project.tree_of(&text);
        for name in names {
            assert_eq!(tree.text(name), body, "{lines}: {name}");
        }
        let image = project.image();
        let sizes: u64 = image.manifest.layers.iter().map(|layer| layer.size).sum();
        assert!(
            sizes < 150_000,
            "{lines}: {sizes} bytes, the file is there twice"
        );
    }
    // A link in the image leads a name of one file onto the name of another.
    let items = [
        Item::file("b/f", "through the link"),
        Item::hard_link("c", "b/f"),
        Item::file("zz/f", "itself"),
        Item::hard_link("zz/g", "zz/f"),
        Item::hard_link("zzz", "b/f"),
    ];
    project.file("a.tar", archive(&items));
    let tree = project.tree_of("FROM scratch\nCOPY image /\nADD a.tar /\n");
    let expected = [
        "b->zz",
        "c=through the link",
        "zz/f=itself",
        "zz/g=itself",
        "zz/x=",
        "zzz=through the link",
    ];
    assert_eq!(tree.files(), expected);
}
