//! ADD of URLs and git repositories, and contexts that come from there.

use super::{FILES, Project, needs};
use crate::support::{Need, Page, Repository, Web};

/// What a build with a repository needs.
const GIT: [Need; 2] = [Need::Root, Need::Git];

/// A project that builds from nothing, and a server beside it.
fn project(dockerfile: &str) -> (Project, Web) {
    let web = Web::new();
    let text = dockerfile.replace("${HTTP}", &web.url(""));
    (Project::from_scratch(&text), web)
}

#[test]
fn a_url_becomes_a_file_with_its_name_and_date() {
    if !needs(&FILES) {
        return;
    }
    let (project, web) = project(
        "FROM scratch\nADD ${HTTP}/a.txt /dir/\nADD ${HTTP}/a.txt?x=/y /as\nADD ${HTTP}/ /dir/\n\
         ADD --chmod=755 --chown=1:2 \"${HTTP}/b [1].txt\" /dir/\n",
    );
    web.page(
        "/a.txt",
        Page {
            body: b"text".to_vec(),
            headers: vec![(
                "Last-Modified".to_owned(),
                "Sun, 13 Sep 2020 12:26:40 GMT".to_owned(),
            )],
            ..Page::default()
        },
    );
    web.file("/", "index");
    web.file("/b%20[1].txt", "odd");
    project.file(
        "Dockerfile",
        std::fs::read_to_string(project.context().join("Dockerfile"))
            .unwrap()
            .replace("\"http", "[\"http")
            .replace(".txt\" /dir/", ".txt\", \"/dir/\"]"),
    );
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.text("dir/a.txt"), "text");
    assert_eq!(tree.text("as"), "text");
    assert_eq!(tree.text("dir/__unnamed__"), "index");
    assert_eq!(tree.text("dir/b [1].txt"), "odd");
    assert_eq!(tree.mtime("as"), 1_600_000_000);
    assert_eq!(tree.mtime("dir/__unnamed__"), 0);
    assert!(tree.meta("as").contains("600"), "{}", tree.meta("as"));
    assert!(tree.meta("dir/b [1].txt").contains("755"));
    project.assert_tidy();
}

#[test]
fn a_download_is_asked_for_again_and_moved_only_when_it_changed() {
    if !needs(&FILES) {
        return;
    }
    let (project, web) = project("FROM scratch\nADD ${HTTP}/f /f\n");
    web.file("/f", "one");
    project.build(&[]);
    let id = project.image().id;
    assert_eq!(web.take_requests().len(), 1);
    let again = project.build(&[]);
    assert_eq!(project.image().id, id);
    assert_eq!(again.ended("DONE"), [""; 0]);
    let asked = web.take_requests();
    assert!(
        asked.len() == 1 && asked[0].contains("if-none-match"),
        "{asked:?}"
    );
    web.file("/f", "two");
    project.build(&[]);
    assert_eq!(project.tree().text("f"), "two");
    // Without anything to ask by, it is downloaded; the same content is the same step.
    web.take_requests();
    web.page(
        "/f",
        Page {
            body: b"two".to_vec(),
            ..Page::default()
        },
    );
    project.build(&[]);
    let image = project.image().id;
    project.build(&["--no-cache"]);
    assert_eq!(project.tree().text("f"), "two");
    assert_ne!(project.image().id, image);
}

#[test]
fn a_checksum_is_checked_and_saves_the_question() {
    if !needs(&FILES) {
        return;
    }
    let digest = rbuild::oci::Digest::of(b"abc");
    let (project, web) = project(&format!(
        "FROM scratch\nADD --checksum={digest} ${{HTTP}}/f /f\n"
    ));
    web.file("/f", "abc");
    project.build(&[]);
    assert_eq!(web.take_requests().len(), 1);
    project.build(&[]);
    assert_eq!(web.take_requests().len(), 0);
    let url = web.url("/g");
    web.file("/g", "abd");
    let cases = [
        (format!("--checksum={digest} {url}"), "digest mismatch"),
        (
            format!("--checksum=md5:7e55db001d319a94b0b713529a756623 {url}"),
            "unsupported digest algorithm",
        ),
        (
            format!("--checksum=sha256:12 {url}"),
            "invalid checksum digest length",
        ),
        (
            format!("--checksum={digest} {url} {url}"),
            "checksum can't be specified for multiple sources",
        ),
        (
            format!("--checksum={digest} f"),
            "checksum requires HTTP(S) or Git sources",
        ),
    ];
    project.file("f", "abc");
    for (source, part) in &cases {
        project.refuses(&format!("FROM scratch\nADD {source} /x/\n"), part);
    }
}

#[test]
fn sources_of_all_kinds_mix_and_archives_are_kept_whole() {
    if !needs(&GIT) {
        return;
    }
    let (project, web) = project(
        "FROM scratch\nADD local ${HTTP}/r/.git ${HTTP}/t.tar /all/\n\
         ADD --unpack=true ${HTTP}/t.tar /out/\nADD --unpack=false own.tar /kept/\nADD own.tar /unpacked/\n",
    );
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "in/f", &b"in"[..])
        .unwrap();
    let archive = builder.into_inner().unwrap();
    web.file("/t.tar", &archive);
    project.file("own.tar", &archive);
    project.file("local", "l");
    let served = project.home().scratch().join("served");
    let repository = Repository::new(&served.join("r"));
    repository.file("from/git", "g");
    repository.commit();
    web.serve_files(&served);
    project.build(&[]);
    let tree = project.tree();
    assert_eq!(tree.text("all/local"), "l");
    assert_eq!(tree.text("all/from/git"), "g");
    assert!(tree.has("all/t.tar") && !tree.has("all/in/f") && !tree.has("all/.git"));
    assert_eq!(tree.text("out/in/f"), "in");
    assert!(tree.has("kept/own.tar") && !tree.has("kept/in/f"));
    assert_eq!(tree.text("unpacked/in/f"), "in");
    project.assert_tidy();
}

#[test]
fn a_repository_is_fetched_by_its_commit() {
    if !needs(&GIT) {
        return;
    }
    let (project, web) = project(
        "FROM scratch\nADD --keep-git-dir ${HTTP}/r/.git#main /whole/\nADD ${HTTP}/r/.git#main:sub /part/\n",
    );
    let served = project.home().scratch().join("served");
    let repository = Repository::new(&served.join("r"));
    repository.file("sub/f", "one");
    let first = repository.commit();
    web.serve_files(&served);
    project.build(&[]);
    assert_eq!(project.tree().text("part/f"), "one");
    assert!(project.tree().has("whole/.git/HEAD"));
    let id = project.image().id;
    project.build(&[]);
    assert_eq!(project.image().id, id);
    repository.file("sub/f", "two");
    repository.commit();
    project.build(&[]);
    assert_eq!(project.tree().text("part/f"), "two");
    let url = web.url("/r/.git");
    let tree = project.tree_of(&format!(
        "FROM scratch\nADD --checksum={} {url}#{first} /\n",
        &first[..10]
    ));
    assert_eq!(tree.text("sub/f"), "one");
    let cases = [
        (
            format!("--checksum={first} {url}#main"),
            "expected checksum to match",
        ),
        (
            format!("--checksum=foobar {url}#main"),
            "expected hex commit hash",
        ),
        (
            format!("{url}#none"),
            "repository does not contain ref none",
        ),
        (
            format!("--keep-git-dir=false {url}?keep-git-dir=true"),
            "inconsistent keep-git-dir configuration",
        ),
        (format!("{url}?what=x"), "unexpected query"),
    ];
    for (source, part) in &cases {
        project.refuses(&format!("FROM scratch\nADD {source} /x\n"), part);
    }
    project.refuses(
        &format!("FROM scratch\nCOPY {url} /x\n"),
        "source can't be a git ref for COPY",
    );
}

#[test]
fn bad_servers_fail_the_build_and_leave_nothing() {
    if !needs(&FILES) {
        return;
    }
    let (project, web) = project("FROM scratch\n");
    let page = |path: &str, status, headers: &[(&str, &str)], breaks| {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        web.page(
            path,
            Page {
                body: b"0123456789".to_vec(),
                headers: headers.collect(),
                status,
                breaks,
            },
        );
    };
    page("/loop", Some("302 Found"), &[("Location", "/loop")], false);
    page(
        "/file",
        Some("302 Found"),
        &[("Location", "file:///etc/passwd")],
        false,
    );
    page("/short", None, &[], true);
    page("/error", Some("500 Internal Server Error"), &[], false);
    let cases = [
        ("/loop", "stopped after 10 redirects"),
        ("/file", "no address of a web server"),
        ("/short", "cannot download"),
        ("/error", "invalid response status 500"),
        ("/missing", "invalid response status 404"),
    ];
    for (path, part) in cases {
        project.refuses(&format!("FROM scratch\nADD {} /x\n", web.url(path)), part);
    }
    project.refuses(
        "FROM scratch\nADD http://127.0.0.1:1/x /x\n",
        "cannot download",
    );
    web.file("/large", vec![7; 10_000]);
    project.file(
        "Dockerfile",
        format!("FROM scratch\nADD {} /x\n", web.url("/large")),
    );
    project
        .try_build(&["--max-download=5k"])
        .fails(1, "more than 5120 bytes");
    project.build(&[]);
}

#[test]
fn a_repository_is_a_context() {
    if !needs(&GIT) {
        return;
    }
    let (project, web) = project("FROM scratch\n");
    let served = project.home().scratch().join("served");
    let repository = Repository::new(&served.join("r"));
    repository.file("Dockerfile", "FROM scratch\nCOPY . /all/\n");
    repository.file("sub/Other", "FROM scratch\nCOPY f /f\n");
    repository.file("sub/f", "of git");
    repository.commit();
    web.serve_files(&served);
    let build = |more: &[&str], context: &str| {
        let arguments = [
            &["build", "--progress=plain", "-t", super::project::NAME],
            more,
            &[context],
        ];
        project.home().run(&arguments.concat()).ok();
        project.tree()
    };
    let whole = build(&[], &web.url("/r/.git"));
    assert_eq!(whole.text("all/sub/f"), "of git");
    assert!(!whole.has("all/.git"));
    let kept = build(
        &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"],
        &web.url("/r/.git"),
    );
    assert!(kept.has("all/.git/HEAD"));
    let part = build(&["-f", "Other"], &web.url("/r/.git#main:sub"));
    assert_eq!(part.text("f"), "of git");
    let wrong = web.url("/r/.git#main:none");
    project
        .home()
        .run(&["build", &wrong])
        .fails(1, "invalid subdir none");
    let outcome = project.home().run(&[
        "build",
        "--call=targets",
        "-f",
        "Other",
        &web.url("/r/.git#main:sub"),
    ]);
    outcome.ok();
    project.assert_tidy();
}

#[test]
fn an_archive_or_a_dockerfile_on_a_server_is_a_context() {
    if !needs(&FILES) {
        return;
    }
    let (project, web) = project("FROM scratch\n");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("Dockerfile", "FROM scratch\nCOPY f /f\n"),
        ("f", "of tar"),
        (".dockerignore", "f\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    web.file("/c.tar.gz", builder.into_inner().unwrap());
    web.file("/text", "FROM scratch\nCOPY context /c\nLABEL a=b\n");
    web.file("/of-f", "FROM scratch\nCOPY Dockerfile /d\n");
    let build = |arguments: &[&str]| {
        let common = ["build", "--progress=plain", "-t", super::project::NAME];
        project.home().run(&[&common, arguments].concat()).ok();
        project.tree()
    };
    // Ignore files hold for what is on this machine.
    assert_eq!(build(&[&web.url("/c.tar.gz")]).text("f"), "of tar");
    assert!(
        build(&[&web.url("/text")])
            .text("c")
            .starts_with("FROM scratch")
    );
    let local = project.context();
    let tree = build(&["-f", &web.url("/of-f"), local.to_str().unwrap()]);
    assert_eq!(tree.text("d"), "FROM scratch\n");
    web.page(
        "/bomb",
        Page {
            body: vec![0x1f, 0x8b, 8, 0],
            ..Page::default()
        },
    );
    project
        .home()
        .run(&["build", &web.url("/none")])
        .fails(1, "invalid response status 404");
    project
        .home()
        .run(&["build", &web.url("/bomb")])
        .fails(1, "failed to build");
    project.assert_tidy();
}

#[test]
fn secrets_open_servers_and_stay_out_of_sight() {
    if !needs(&GIT) {
        return;
    }
    let (project, web) = project("FROM scratch\nADD ${HTTP}/f /f\nADD ${HTTP}/r/.git /r/\n");
    web.file("/f", "text");
    let served = project.home().scratch().join("served");
    let repository = Repository::new(&served.join("r"));
    repository.file("g", "g");
    repository.commit();
    web.serve_files(&served);
    let secret = |id: &str, value: &str| {
        let path = project.home().file(id, value);
        format!("--secret=id={id},src={}", path.display())
    };
    let token = secret("HTTP_AUTH_TOKEN_127.0.0.1", "very-secret-1");
    let git = secret("GIT_AUTH_TOKEN.127.0.0.1", "very-secret-2");
    let outcome = project.build(&[&token, &git]);
    let requests = web.take_requests();
    let has = |path: &str, header: &str| {
        let mut found = requests.iter().filter(|head| head.contains(path));
        found.all(|head| head.to_lowercase().contains(&header.to_lowercase()))
    };
    assert!(
        has("GET /f ", "authorization: Bearer very-secret-1"),
        "{requests:?}"
    );
    // x-access-token:very-secret-2
    let basic = "authorization: basic eC1hY2Nlc3MtdG9rZW46dmVyeS1zZWNyZXQtMg==";
    assert!(has("/r/.git/", basic), "{requests:?}");
    assert!(
        !outcome.stderr.contains("very-secret"),
        "{}",
        outcome.stderr
    );
    let index = std::fs::read(project.home().root().join("index.sqlite")).unwrap();
    let text = String::from_utf8_lossy(&index).into_owned();
    assert!(!text.contains("very-secret"));
    assert!(!text.contains("eC1hY2Nlc3M"));
}
