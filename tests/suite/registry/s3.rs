//! Caches in buckets: against a real server of the protocol.

use std::process::Command;

use crate::build::{Project, RUNS};
use crate::support::{BUCKET, Need, Outcome, S3_KEY, S3Server, finish, needs};

/// A layer that goes in parts, and one that does not.
const DOCKERFILE: &str = "FROM busybox AS make\n\
    COPY src /src\n\
    RUN head -c 20000000 /dev/urandom > /much\n\
    FROM busybox\n\
    COPY --from=make /much /moved\n\
    RUN head -c 1000 /moved > /little\n";

/// What the tests here need.
fn ready() -> bool {
    needs(&RUNS) && needs(&[Need::S3Server])
}

fn project() -> Project {
    let project = Project::on_busybox(DOCKERFILE);
    project.file("src/a", "a\n");
    project
}

fn place(server: &S3Server, more: &str) -> String {
    let url = format!("http://{}", server.host());
    format!("type=s3,bucket={BUCKET},region=here,endpoint_url={url}{more}")
}

/// The program with an environment in which nobody but the test says who we are.
fn command(project: &Project, arguments: &[&str], secret: Option<&str>) -> Command {
    let mut command = project.home().command(&project.arguments(arguments));
    for name in [
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_BUCKET",
        "AWS_REGION",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", project.home().scratch());
    match secret {
        Some(secret) => command
            .env("AWS_ACCESS_KEY_ID", S3_KEY)
            .env("AWS_SECRET_ACCESS_KEY", secret),
        None => command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY"),
    };
    command
}

#[track_caller]
fn build(project: &Project, arguments: &[&str]) -> Outcome {
    let outcome = finish(command(project, arguments, Some(S3_KEY)), b"");
    outcome.ok();
    outcome
}

/// The warnings at the end of a build.
fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines();
    lines.filter(|line| line.starts_with(" - ")).collect()
}

#[test]
fn nothing_runs_on_an_empty_data_root() {
    if !ready() {
        return;
    }
    let server = S3Server::start();
    let project = project();
    let to = format!(
        "--cache-to={}",
        place(&server, ",prefix=a b/,name=main;other,mode=max")
    );
    let outcome = build(&project, &[&to]);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
    assert_eq!(server.objects("a b/manifests").len(), 2);
    assert_eq!(server.objects("a b/blobs").len(), 4);
    for name in ["main", "other", "nobody;other"] {
        let other = self::project();
        let from = format!(
            "--cache-from={}",
            place(&server, &format!(",prefix=a b/,name={name}"))
        );
        let outcome = build(&other, &[&from]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "{name}: {}", outcome.stderr);
        assert_eq!(other.image().id, project.image().id);
        assert_eq!(other.tree(), project.tree());
        // What is there is not sent again.
        let before = server.log().matches("PUT /").count();
        let outcome = build(&other, &[&to]);
        assert!(
            outcome.stderr.contains("0 layers written"),
            "{}",
            outcome.stderr
        );
        assert_eq!(server.log().matches("PUT /").count() - before, 2);
    }
    // A build that goes nowhere fetches nothing but the list.
    let before = server.log().matches("GET /").count();
    let from = format!("--cache-from={}", place(&server, ",prefix=a b/,name=main"));
    let outcome = build(&self::project(), &[&from, "--output=type=cacheonly"]);
    assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
    assert_eq!(server.log().matches("GET /").count() - before, 1);
}

#[test]
fn what_is_used_does_not_grow_old() {
    if !ready() {
        return;
    }
    let server = S3Server::start();
    let project = project();
    let to = format!("--cache-to={}", place(&server, ",touch_refresh=0s"));
    build(&project, &[&to]);
    let before = server.log().matches("PUT /").count();
    // Servers tell the time in seconds.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let outcome = build(&project, &[&to]);
    assert!(
        outcome.stderr.contains("0 layers written"),
        "{}",
        outcome.stderr
    );
    // Both blobs, in place, and the list.
    assert_eq!(
        server.log().matches("PUT /").count() - before,
        3,
        "{}",
        server.log()
    );
    // Copying a thing onto itself leaves it as it is.
    let other = self::project();
    let from = format!("--cache-from={}", place(&server, ""));
    let outcome = build(&other, &[&from]);
    assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
}

#[test]
fn who_is_not_known_gets_nothing_and_no_secret_is_told() {
    if !ready() {
        return;
    }
    let server = S3Server::start();
    let project = project();
    let with = |more: &str| format!("--cache-to={}", place(&server, more));
    let plain = with("");
    let outcome = finish(command(&project, &[&plain], None), b"");
    outcome.fails(1, "no credentials for S3");
    let stranger = with(",access_key_id=nobody,secret_access_key=a-secret");
    let outcome = finish(command(&project, &[&stranger], None), b"");
    outcome.fails(1, "InvalidAccessKeyId");
    assert!(!outcome.stderr.contains("a-secret"));
    let outcome = finish(command(&project, &[&format!("{stranger},x")], None), b"");
    outcome.fails(1, "invalid value x");
    assert!(!outcome.stderr.contains("a-secret"));
    let known = with(",access_key_id=S3RVER,secret_access_key=S3RVER");
    finish(command(&project, &[&known], None), b"").ok();
    // A source that cannot be used is a warning, here as elsewhere.
    let from = format!("--cache-from={}", place(&server, ""));
    let outcome = finish(command(&self::project(), &[&from], None), b"");
    outcome.ok();
    assert_eq!(warnings(&outcome).len(), 1, "{}", outcome.stderr);
    let nowhere = format!("{from},bucket=nowhere");
    let outcome = build(&self::project(), &[&nowhere]);
    assert_eq!(warnings(&outcome).len(), 1, "{}", outcome.stderr);
}

#[test]
fn damaged_objects_are_made_again() {
    if !ready() {
        return;
    }
    for (prefix, expected) in [("blobs", 1), ("manifests", 1)] {
        let server = S3Server::start();
        let project = project();
        let to = format!("--cache-to={}", place(&server, ",mode=max"));
        build(&project, &[&to]);
        for object in server.objects(prefix) {
            let mut bytes = std::fs::read(&object).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            bytes[middle / 2] = 0;
            std::fs::write(&object, bytes).unwrap();
        }
        let other = self::project();
        let from = format!("--cache-from={}", place(&server, ""));
        let outcome = build(&other, &[&from]);
        assert_eq!(
            outcome.ended("DONE").len(),
            4,
            "{prefix}: {}",
            outcome.stderr
        );
        assert_eq!(
            warnings(&outcome).len(),
            expected,
            "{prefix}: {}",
            outcome.stderr
        );
        other.assert_tidy();
    }
}
