//! `SOURCE_DATE_EPOCH`: the same image at another time, in another place.

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{FILES, Outcome, Project, RUNS, needs};
use crate::support::{Need, Page, Repository, Web, run_other};

const EPOCH: &str = "SOURCE_DATE_EPOCH=1700000001";

const EVERYTHING: &str = "\
FROM busybox AS made
RUN mkdir -p /out/sub && date > /dev/null && echo 1 > /out/sub/f && ln /out/sub/f /out/h \\
    && touch -d '2010-01-01 00:00:00' /out/old && touch -d '2030-01-01 00:00:00' /out/late
FROM busybox
WORKDIR /w/deep
COPY --from=made /out /out
COPY file tree /copied/
ADD archive.tar /added/
COPY <<EOF /inline
text
EOF
RUN cp -p /out/sub/f /kept && touch /etc/new && rm /etc/group && mkdir /made
";

/// A context whose files are as old as the test wants.
fn project(dockerfile: &str, modified: SystemTime) -> Project {
    let project = Project::on_busybox(dockerfile);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mtime) in [("old", 1_000_000_000), ("late", 4_000_000_000_u64)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        archive.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    let files = [
        project.file("file", "content"),
        project.file("tree/a", "a"),
        project.file("archive.tar", archive.into_inner().unwrap()),
    ];
    for file in files {
        let file = File::options().write(true).open(file).unwrap();
        let times = FileTimes::new().set_modified(modified);
        file.set_times(times).unwrap();
    }
    project
}

/// Every archive that can be had of the image.
fn archives(project: &Project, build: &[&str]) -> Vec<Vec<u8>> {
    let path = |name: &str| {
        let path = project.home().scratch().join(name);
        path.to_str().unwrap().to_owned()
    };
    let (oci, docker, saved) = (path("oci.tar"), path("docker.tar"), path("saved.tar"));
    let (to_oci, to_docker) = (
        format!("type=oci,dest={oci}"),
        format!("type=docker,dest={docker}"),
    );
    let mut arguments = vec!["--load", "-o", &to_oci, "-o", &to_docker];
    arguments.extend(build);
    project.build(&arguments);
    project.home().run(&["save", "-o", &saved, "result"]).ok();
    let tar = project.try_build(&[build, &["-o", "-"]].concat());
    let mut all: Vec<Vec<u8>> = [oci, docker, saved]
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    all.push(tar.stdout);
    all
}

#[test]
fn archives_do_not_depend_on_time_place_or_data_root() {
    if !needs(&RUNS) {
        return;
    }
    let now = SystemTime::now();
    let first = project(EVERYTHING, now);
    let build = ["--build-arg", EPOCH];
    let archives_of_first = archives(&first, &build);
    // Another second, and another age of the context.
    std::thread::sleep(Duration::from_millis(1_100));
    let second = project(EVERYTHING, now + Duration::from_secs(100));
    let archives_of_second = archives(&second, &build);
    let pairs = archives_of_first.iter().zip(&archives_of_second);
    for (number, (one, other)) in pairs.enumerate() {
        assert!(one == other, "archive {number} differs");
    }
    // What was there before stays as old as it is, and nothing is younger.
    let tree = first.tree();
    assert_eq!(tree.mtime("out/old"), 1_262_304_000);
    assert_eq!(tree.mtime("added/old"), 1_000_000_000);
    let late = [
        "out/late",
        "out/sub/f",
        "kept",
        "etc/new",
        "made",
        "copied/file",
        "added/late",
    ];
    for path in late {
        assert_eq!(tree.mtime(path), 1_700_000_001, "{path}");
    }
    assert_eq!(tree.mtime("inline"), 315_532_800);
    let config = first.config();
    assert_eq!(config["created"], "2023-11-14T22:13:21Z");
    let history = config["history"].as_array().unwrap();
    let base = &history[0]["created"];
    assert_eq!(base, "2024-01-01T00:00:00Z", "the base's own");
    for entry in &history[1..] {
        assert_eq!(entry["created"], "2023-11-14T22:13:21Z");
    }
}

/// Whether the lines of progress say that something ran.
fn ran(outcome: &Outcome) -> bool {
    !outcome.ended("DONE").is_empty()
}

fn at(moment: &str) -> [String; 2] {
    [
        "--build-arg".to_owned(),
        format!("SOURCE_DATE_EPOCH={moment}"),
    ]
}

fn build_at(project: &Project, moment: &str, more: &[&str]) -> Outcome {
    let moment = at(moment);
    let mut arguments: Vec<&str> = moment.iter().map(String::as_str).collect();
    arguments.extend(more);
    project.build(&arguments)
}

#[test]
fn commands_do_not_run_again_for_another_moment() {
    if !needs(&RUNS) {
        return;
    }
    let dockerfile = "FROM busybox\nRUN echo x > /x && touch -d '2010-01-01 00:00:00' /old\n\
                      RUN cp -p /x /y\n";
    let project = Project::on_busybox(dockerfile);
    assert!(ran(&build_at(&project, "1700000001", &[])));
    assert!(!ran(&build_at(&project, "1700009999", &[])));
    let cached = project.image();
    let tree = project.tree();
    assert_eq!(tree.mtime("x"), 1_700_009_999);
    assert_eq!(tree.mtime("y"), 1_700_009_999);
    assert_eq!(tree.mtime("old"), 1_262_304_000);
    // It is what running them gives.
    build_at(&project, "1700009999", &["--no-cache"]);
    assert_eq!(project.image().id, cached.id);
    // A moment before some file's own time changes that as well.
    assert!(!ran(&build_at(&project, "1000000000", &[])));
    assert_eq!(project.tree().mtime("old"), 1_000_000_000);
    // Without a moment times are the clock's.
    project.build(&[]);
    assert!(project.tree().mtime("x") > 1_700_009_999);
}

#[test]
fn a_time_that_was_lost_is_not_guessed() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN touch -d '2010-01-01 00:00:00' /old\n");
    build_at(&project, "1000000000", &[]);
    assert_eq!(project.tree().mtime("old"), 1_000_000_000);
    assert!(ran(&build_at(&project, "1700000001", &[])));
    assert_eq!(project.tree().mtime("old"), 1_262_304_000);
}

#[test]
fn the_moment_comes_from_the_command_line_the_environment_or_the_dockerfile() {
    if !needs(&FILES) {
        return;
    }
    let created = |project: &Project| project.config()["created"].clone();
    let project = Project::from_scratch(
        "ARG SOURCE_DATE_EPOCH=1445412480\nFROM scratch\nARG SOURCE_DATE_EPOCH\n\
         LABEL e=$SOURCE_DATE_EPOCH\nCOPY Dockerfile /\n",
    );
    project.build(&[]);
    assert_eq!(created(&project), "2015-10-21T07:28:00Z");
    assert_eq!(project.config()["config"]["Labels"]["e"], "1445412480");
    project.build(&["--build-arg", EPOCH]);
    assert_eq!(created(&project), "2023-11-14T22:13:21Z");
    let mut command = project.home().command(&project.arguments(&["-q"]));
    let output = command.env("SOURCE_DATE_EPOCH", "0").output().unwrap();
    assert!(output.status.success());
    assert_eq!(created(&project), "1970-01-01T00:00:00Z");
    assert_eq!(project.tree().mtime("Dockerfile"), 0);
    // An empty one asks for none, and a directory has no time of its own.
    for value in ["", "context"] {
        build_at(&project, value, &[]);
        let year: i32 = created(&project).as_str().unwrap()[..4].parse().unwrap();
        assert!(year > 2023, "{value}");
        let config = project.config();
        assert_eq!(config["config"]["Labels"]["e"], "", "{value}");
    }
}

#[test]
fn what_is_no_moment_is_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY Dockerfile /\n");
    for (moment, why) in [
        (
            "not-a-timestamp",
            "invalid SOURCE_DATE_EPOCH: not-a-timestamp",
        ),
        ("999999999999999999", "invalid SOURCE_DATE_EPOCH"),
    ] {
        let moment = at(moment);
        let arguments: Vec<&str> = moment.iter().map(String::as_str).collect();
        project.try_build(&arguments).fails(1, why);
    }
    let stage = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\n";
    for (body, why) in [
        (
            "COPY Dockerfile /\n",
            "does not meet source-only requirements",
        ),
        ("", "must contain exactly one remote ADD"),
        ("ADD a b /x/\n", "exactly one remote ADD source"),
    ] {
        project.refuses(&format!("{stage}{body}FROM scratch\n"), why);
    }
}

#[test]
fn times_stay_where_an_output_asks_for_that() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY file /\n");
    let path = project.file("file", "x");
    let file = File::options().write(true).open(path).unwrap();
    let late = UNIX_EPOCH + Duration::from_hours(500_000);
    file.set_times(FileTimes::new().set_modified(late)).unwrap();
    let kept = ["-o", "type=image,rewrite-timestamp=false"];
    build_at(&project, "1700000001", &kept);
    assert_eq!(project.tree().mtime("file"), 1_800_000_000);
    assert_eq!(project.config()["created"], "2023-11-14T22:13:21Z");
    let changed = ["-o", "type=image,rewrite-timestamp=true"];
    build_at(&project, "1700000001", &changed);
    assert_eq!(project.tree().mtime("file"), 1_700_000_001);
    // Files that leave the image have the moment itself.
    let out = project.home().scratch().join("out");
    build_at(&project, "1700000001", &["-o", out.to_str().unwrap()]);
    let meta = std::fs::metadata(out.join("file")).unwrap();
    let moment = UNIX_EPOCH + Duration::from_secs(1_700_000_001);
    assert_eq!(meta.modified().unwrap(), moment);
}

#[test]
fn differences_of_two_builds_are_named() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo same > /same\n");
    let check = ["--check-reproducible", "--build-arg", EPOCH];
    let same = project.build(&check);
    assert!(
        same.stderr
            .contains("reproducible: the second build gave the same image")
    );
    let random = "$(tr -dc 0-7 < /dev/urandom | head -c 3)";
    let tries = [
        ("date +%s > /when", "/when: content differs from byte"),
        ("mkdir /d && mktemp /d/XXXXXX", ": only in the"),
        (&format!("touch /m && chmod {random} /m"), "/m: mode 0"),
        (&format!("touch /o && chown 1{random} /o"), "/o: owner 1"),
        ("ln -s $(date +%s) /l", "/l: link to "),
    ];
    for (command, what) in tries {
        let dockerfile = format!("FROM busybox\nRUN true\nRUN {command}\n");
        project.file("Dockerfile", dockerfile);
        let outcome = project.try_build(&check);
        outcome.fails(1, "not reproducible: layer 3 of 3: RUN /bin/sh -c ");
        outcome.fails(1, what);
    }
    project.file("Dockerfile", "FROM busybox\nRUN echo same > /same\n");
    let timed = project.try_build(&["--check-reproducible"]);
    timed.fails(1, "/same: time 20");
    timed.fails(1, "hint: with SOURCE_DATE_EPOCH set");
    // The second build left the cache as it was.
    assert!(!ran(&project.build(&["--build-arg", EPOCH])));
}

/// A project that builds from nothing, and a server beside it.
fn served(dockerfile: &str) -> (Project, Web) {
    let web = Web::new();
    let text = dockerfile.replace("${HTTP}", &web.url(""));
    (Project::from_scratch(&text), web)
}

fn dated(body: Vec<u8>, modified: Option<&str>) -> Page {
    let header = |date: &str| ("Last-Modified".to_owned(), date.to_owned());
    Page {
        body,
        headers: modified.map(header).into_iter().collect(),
        ..Page::default()
    }
}

fn tar_of(mtime: u64) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let dockerfile = &b"FROM scratch\nCOPY Dockerfile /\n"[..];
    for (name, body, mtime) in [
        ("Dockerfile", dockerfile, 1_000_000_000),
        ("young", &b"x"[..], mtime),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        archive.append_data(&mut header, name, body).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_stage_with_one_download_gives_its_moment() {
    if !needs(&FILES) {
        return;
    }
    let (project, web) = served(
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nARG NAME=src.tar\nADD ${HTTP}/$NAME /\n\
         FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL e=$SOURCE_DATE_EPOCH\nCOPY file /\n",
    );
    project.file("file", "x");
    let created = || project.config()["created"].clone();
    // Of a file without a date, the youngest in it counts.
    web.page("/src.tar", dated(tar_of(1_700_000_402), None));
    project.build(&[]);
    assert_eq!(created(), "2023-11-14T22:20:02Z");
    assert_eq!(project.config()["config"]["Labels"]["e"], "1700000402");
    assert_eq!(project.tree().mtime("file"), 1_700_000_402);
    let date = "Sun, 13 Sep 2020 12:26:40 GMT";
    web.page("/dated", dated(b"x".to_vec(), Some(date)));
    project.build(&["--build-arg", "NAME=dated"]);
    assert_eq!(created(), "2020-09-13T12:26:40Z");
    // The command line wins.
    project.build(&["--build-arg", EPOCH]);
    assert_eq!(created(), "2023-11-14T22:13:21Z");
    project.refuses(
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD file /\nFROM scratch\nCOPY file /\n",
        "must be a single HTTP(S) or Git ADD",
    );
}

#[test]
fn contexts_from_elsewhere_give_their_moment() {
    if !needs(&FILES) || !needs(&[Need::Git]) {
        return;
    }
    let (project, web) = served("FROM scratch\nCOPY Dockerfile /\n");
    let created = || project.config()["created"].clone();
    let context = ["--build-arg", "SOURCE_DATE_EPOCH=context"];
    let build = |context_argument: &str, more: &[&str]| {
        let mut arguments = project.arguments(more);
        arguments.pop();
        arguments.push(context_argument.to_owned());
        project.home().run(&arguments).ok();
    };
    web.page("/c.tar", dated(tar_of(1_700_000_402), None));
    build(&web.url("/c.tar"), &context);
    assert_eq!(created(), "2023-11-14T22:20:02Z");

    let place = project.home().scratch().join("repository");
    let repository = Repository::new(&place);
    repository.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    repository.commit();
    let moment: i64 = repository
        .git(&["log", "-1", "--format=%ct"])
        .parse()
        .unwrap();
    let made: i64 = {
        repository.git(&["update-server-info"]);
        web.serve_files(project.home().scratch().as_path());
        build(&web.url("/repository/.git"), &context);
        let text = created().as_str().unwrap().to_owned();
        let printed = run_other("date", &["-u", "-d", &text, "+%s"]);
        String::from_utf8(printed).unwrap().trim().parse().unwrap()
    };
    assert_eq!(made, moment);

    let named = format!("--build-context=other={}", web.url("/c.tar"));
    build(
        project.context().to_str().unwrap(),
        &["--build-arg", "SOURCE_DATE_EPOCH=other", &named],
    );
    assert_eq!(created(), "2023-11-14T22:20:02Z");
}
