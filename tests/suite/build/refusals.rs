//! Input that is refused: one clear message, the right code, the store as it was.

use super::archives::{Item, archive};
use super::{FILES, Project, RUNS, needs};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_missing_or_empty_dockerfile_is_told() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.refuses("", "the Dockerfile cannot be empty");
    for text in ["\n\n", "# only a comment\n"] {
        project.refuses(text, "file with no instructions");
    }
    project.refuses("ARG A=1\n", "dockerfile contains no stages to build");
    project.refuses("RUN true\n", "no build stage in current context");
    std::fs::remove_file(project.context().join("Dockerfile")).unwrap();
    project.try_build(&[]).fails(
        1,
        "failed to read dockerfile: open Dockerfile: no such file or directory",
    );
    project
        .try_build(&["-f", "nowhere/Dockerfile"])
        .fails(1, "no such file or directory");
    project.file("Dockerfile", b"FROM scratch\nLABEL a=\xff\xfe\n");
    project.try_build(&[]).fails(1, "not valid UTF-8");
    std::fs::remove_file(project.context().join("Dockerfile")).unwrap();
    std::fs::create_dir(project.context().join("Dockerfile")).unwrap();
    project.try_build(&[]).fails(1, "is a directory");
    project.assert_tidy();
}

#[test]
fn mistakes_are_told_with_place_and_advice() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let cases = [
        ("FORM scratch\n", "did you mean FROM?"),
        ("FROM scratch\nCOPPY a b\n", "unknown instruction: COPPY"),
        (
            "FROM scratch\nCOPY a\n",
            "COPY requires at least two arguments",
        ),
        ("FROM\n", "FROM requires either one or three arguments"),
        (
            "FROM scratch AS 1x\n",
            "invalid name for build stage: \"1x\"",
        ),
        ("FROM scratch\nENV a\n", "ENV must have two arguments"),
        ("FROM scratch\nCOPY <<EOF /f\nx\n", "unterminated heredoc"),
        ("FROM scratch\nCOPY --form=x a b\n", "unknown flag"),
        ("FROM scratch\nLABEL a=\"x\n", "unexpected end of statement"),
        ("FROM scratch\nSTOPSIGNAL NOPE\n", "invalid signal"),
        (
            "FROM scratch\nEXPOSE 99999\n",
            "invalid containerPort: 99999",
        ),
        (
            "FROM $nothing\n",
            "base name ($nothing) should not be blank",
        ),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/ true\n",
            "invalid mount target \"/\"",
        ),
        (
            "FROM scratch\nRUN --mount=type=tmpfs,target=/proc/x true\n",
            "nothing can be mounted inside /proc",
        ),
        (
            "FROM scratch\nRUN --mount=type=cache,sharing=never,target=/c true\n",
            "unsupported sharing value",
        ),
        (
            "FROM scratch AS early\nRUN --mount=from=later,target=/c true\nFROM scratch AS later\nFROM early\n",
            "cannot mount from stage \"later\", it needs to be defined before",
        ),
        (
            "FROM scratch\nRUN --network=host true\n",
            "network.host is not allowed",
        ),
        (
            "FROM scratch\nRUN --security=insecure true\n",
            "security.insecure is not allowed",
        ),
        (
            "FROM scratch\nRUN --device=nvidia.com/gpu=all true\n",
            "devices of the host cannot be given to a step",
        ),
        (
            "FROM scratch\nCOPY https://example.org/x /\n",
            "source can't be a URL for COPY",
        ),
    ];
    for (text, part) in cases {
        project.refuses(text, part);
    }
}

#[test]
fn unknown_stages_and_images_are_told() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch AS builder\nLABEL a=b\n");
    let outcome = project.try_build(&["--target=bulider"]);
    outcome.fails(1, "target stage \"bulider\" could not be found");
    outcome.fails(1, "did you mean builder?");
    let text = "FROM scratch AS builder\nLABEL a=b\nFROM scratch\n";
    project.refuses(
        &format!("{text}COPY --from=bulider /x /\n"),
        "did you mean builder?",
    );
    project.refuses(
        &format!("{text}COPY --from=7 /x /\n"),
        "invalid stage index 7",
    );
    project.refuses(
        "FROM scratch AS early\nCOPY --from=later /x /\nFROM scratch AS later\nFROM early\n",
        "needs to be defined before current stage",
    );
    project.refuses(
        "FROM nowhere/nothing:1\n",
        "failed to resolve source metadata",
    );
    project.refuses("FROM Bad..Name//\n", "Bad..Name");
}

#[test]
fn missing_sources_are_told_with_their_place() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("there", "x");
    project.refuses(
        "FROM scratch\nCOPY there missing /d/\n",
        "\"/missing\": not found",
    );
    project.refuses(
        "FROM scratch\nCOPY there/below /d/\n",
        "\"/there/below\": not found",
    );
    project.refuses(
        "FROM scratch\nCOPY ../there/../../up /d/\n",
        "\"/up\": not found",
    );
    let text = "FROM scratch AS a\nCOPY there /\nFROM scratch\nCOPY --from=a /gone /\n";
    project.refuses(text, "\"/gone\": not found");
    assert!(
        project
            .try_build(&[])
            .stderr
            .contains("4 | >>> COPY --from=a /gone /")
    );
    project.link("dangling", "nowhere");
    project.refuses(
        "FROM scratch\nCOPY dangling /\n",
        "\"/dangling\": not found",
    );
    project.link("loop", "loop");
    project.refuses("FROM scratch\nCOPY loop /\n", "symbolic links");
}

#[test]
fn no_path_leads_out_of_the_context() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let secret = project.home().file("secret", "secret");
    let secret = secret.to_str().unwrap();
    // `..` stops at the root of the context, and so do links.
    project.link("absolute", secret);
    project.link("relative", "../secret");
    project.link("up", "..");
    project.link("dir/far", "../../../../../../../../etc");
    for source in [
        "../secret",
        secret,
        "absolute",
        "relative",
        "up/secret",
        "dir/far/passwd",
        "dir/../../secret",
    ] {
        project.refuses(&format!("FROM scratch\nCOPY {source} /got\n"), "not found");
        project.refuses(&format!("FROM scratch\nADD {source} /got\n"), "not found");
    }
    // A directory is copied with the links in it, not with what they point at.
    let tree = project.tree_of("FROM scratch\nCOPY dir /d\n");
    assert_eq!(tree.files(), ["d/far->../../../../../../../../etc"]);
    // The Dockerfile and the ignore file may not be links out of it either.
    std::fs::remove_file(project.context().join("Dockerfile")).unwrap();
    let outside = project.home().file("Outside", "FROM scratch\nLABEL a=b\n");
    project.link("Dockerfile", outside.to_str().unwrap());
    assert_eq!(project.try_build(&[]).code, 1);
    project.assert_tidy();
}

#[test]
fn links_between_stages_stay_in_their_tree() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let secret = project.home().file("secret", "secret");
    project.link("tree/out", secret.to_str().unwrap());
    project.link("tree/dir", "/../../../../../../../../../");
    project.file("one", "1");
    let text = "FROM scratch AS a\nCOPY tree /\nFROM scratch\n";
    project.refuses(&format!("{text}COPY --from=a /out /got\n"), "not found");
    project.refuses(
        &format!("{text}COPY --from=a /dir/etc/passwd /got\n"),
        "not found",
    );
    let tree = project.tree_of("FROM scratch\nCOPY tree /\nCOPY one /dir/etc/rbuild-test\n");
    assert!(tree.has("etc/rbuild-test"));
    assert!(!std::path::Path::new("/etc/rbuild-test").exists());
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY src /\n");
    project.file("src/open", "x");
    let file = project.file("src/closed", "x");
    let close = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    close(0);
    // Root without the capabilities that let it read everything.
    let wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let outcome = project.home().run_in(&wrapper, &project.arguments(&[]));
    outcome.fails(1, "permission denied");
    assert!(outcome.stderr.contains("closed"), "{outcome:?}");
    project.assert_tidy();
    close(0o600);
    assert_eq!(project.build(&[]).ended("DONE"), ["COPY src /"]);
}

#[test]
fn a_context_that_changes_while_it_is_copied_is_told_or_copied() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY src /\n");
    for at in 0..300 {
        project.file(&format!("src/{at:03}"), "x".repeat(2000));
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let at = 150 + round % 150;
                let path = project.context().join(format!("src/{at:03}"));
                std::fs::remove_file(&path).ok();
                std::fs::write(&path, "y".repeat(round * 7 % 3000)).ok();
            }
        });
        for _ in 0..15 {
            let outcome = project.try_build(&["--no-cache"]);
            if outcome.code == 0 {
                project.image();
            } else {
                let told = ["changed while it was read", "no such file"];
                let said = outcome.stderr.to_lowercase();
                assert!(told.iter().any(|part| said.contains(part)), "{outcome:?}");
                assert_eq!(outcome.code, 1);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    project.build(&[]);
    project.assert_tidy();
}

#[test]
fn a_large_file_that_shrinks_or_grows_is_told_or_copied() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY large /\n");
    let path = project.file("large", vec![b'x'; 8 << 20]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            for length in [1_u64, 5, 20, 3, 12].iter().cycle() {
                file.set_len(length << 20).unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..10 {
            let outcome = project.try_build(&["--no-cache"]);
            if outcome.code == 0 {
                project.image();
            } else {
                outcome.fails(1, "changed while it was read");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    project.build(&[]);
    project.assert_tidy();
}

#[test]
fn an_image_of_another_architecture_is_a_warning() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nLABEL a=b\nCOPY Dockerfile /\n");
    project.build(&[]);
    let home = project.home();
    let saved = home.run(&["save", "result"]).stdout;
    // The same archive for another machine: only the configuration differs.
    let foreign = with_architecture(&saved, "s390x");
    let loaded = home.run_with(&["load"], &foreign);
    loaded.ok();
    for (text, line) in [
        ("FROM foreign\nCOPY Dockerfile /x\n", 1),
        ("FROM scratch\nCOPY --from=foreign /Dockerfile /x\n", 2),
    ] {
        project.file("Dockerfile", text);
        let outcome = project.build(&[]);
        let place = format!("(Dockerfile:{line})");
        let warning = "InvalidBaseImagePlatform: Base image foreign was pulled with platform \"linux/s390x\", expected";
        let shown = &outcome.stderr;
        assert!(shown.contains(warning) && shown.contains(&place), "{shown}");
        let check = project.try_build(&["--check"]);
        assert_eq!(check.code, 1);
        assert!(
            check.text().contains("WARNING: InvalidBaseImagePlatform\n"),
            "{}",
            check.text()
        );
    }
}

/// A docker archive of one image, its architecture replaced, under the name `foreign`.
fn with_architecture(archive: &[u8], architecture: &str) -> Vec<u8> {
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut body).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), body);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let read = |name: &serde_json::Value| files[name.as_str().unwrap()].clone();
    let mut config: serde_json::Value =
        serde_json::from_slice(&read(&manifest[0]["Config"])).unwrap();
    config["architecture"] = architecture.into();
    let layer = String::from("layer.tar");
    let own = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["foreign:latest"], "Layers": [layer],
    }]);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, body) in [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", read(&manifest[0]["Layers"][0])),
        ("manifest.json", own.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, body.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn hostile_contexts_on_standard_input_are_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let dockerfile = Item::file("Dockerfile", "FROM scratch\nCOPY . /\n");
    for bad in [
        Item::file("../escape", "x"),
        Item::hard_link("h", "../../../../../etc/passwd"),
    ] {
        let bytes = archive(&[dockerfile.clone(), bad]);
        let outcome = project.home().run_with(&["build", "-"], &bytes);
        outcome.fails(1, "cannot unpack the build context");
        project.assert_tidy();
    }
    let bytes = archive(&[
        dockerfile.clone(),
        Item::device("null"),
        Item::symlink("l", "/etc"),
    ]);
    let outcome = project
        .home()
        .run_with(&["build", "-t", "result", "-"], &bytes);
    outcome.ok();
    assert!(
        !project.tree().has("null"),
        "devices never come from a context"
    );
}

#[test]
fn a_base_image_with_odd_accounts_is_no_way_out() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.link("etc/passwd", "../../../../../etc/passwd");
    project.file("one", "1");
    project.refuses(
        "FROM scratch\nCOPY etc /etc\nCOPY --chown=root one /\nRUN x\n",
        "",
    );
    project.file("bad", "no:colon\n:::::::\nroot:x:99999999999:0\n");
    project.refuses(
        "FROM busybox\nCOPY bad /etc/passwd\nUSER nobody\nRUN true\n",
        "nobody",
    );
}
