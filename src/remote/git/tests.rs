//! Fetching from repositories that a server on loopback hands out as plain files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Error, Remote, Settings};
use super::*;
use crate::sys::command;

const LONG: Duration = Duration::from_mins(1);

/// A web server for the files beneath a directory.
struct Files {
    address: std::net::SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Files {
    fn serve(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let root = root.to_owned();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(path) = requested(&mut stream) else {
                    break;
                };
                answer(&mut stream, &root, &path);
            }
        });
        Self {
            address,
            thread: Some(thread),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A connection without a request ends the loop.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn requested(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1)?.split('?').next()?;
    Some(path.trim_start_matches('/').to_owned())
}

fn answer(stream: &mut TcpStream, root: &Path, path: &str) {
    let (status, body) = match fs::read(root.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()));
    drop(stream.write_all(&body));
}

/// Runs git for its author, not as the module does.
fn author(dir: &Path, args: &[&str]) -> String {
    let mut environment = BTreeMap::from(
        [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
            ("GIT_AUTHOR_DATE", "1600000000 +0000"),
            ("GIT_COMMITTER_DATE", "1600000000 +0000"),
            ("GIT_ALLOW_PROTOCOL", "file"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    environment.insert("PATH".to_owned(), command::SYSTEM_PATH.to_owned());
    let dir = dir.to_str().unwrap();
    let args: Vec<&str> = ["-C", dir]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let git = command::find("git", None).unwrap();
    let output = command::run_in(&git, &args, b"", LONG, &environment).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.code, 0, "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn init(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    author(dir, &["init", "-q", "-b", "main"]);
}

fn commit(dir: &Path) -> String {
    author(dir, &["add", "-A"]);
    author(dir, &["commit", "-q", "--allow-empty", "-m", "c"]);
    author(dir, &["update-server-info"]);
    author(dir, &["rev-parse", "HEAD"])
}

/// Whether the tests can run: they need the program.
fn has_git() -> bool {
    let found = command::find("git", None).is_some();
    if !found {
        eprintln!("skipped: needs git");
    }
    found
}

/// A place for repositories, their server, and what was fetched.
struct Place {
    home: tempfile::TempDir,
    server: Files,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let served = home.path().join("served");
        fs::create_dir(&served).unwrap();
        fs::create_dir(home.path().join("scratch")).unwrap();
        Self {
            server: Files::serve(&served),
            home,
        }
    }

    fn repository(&self, name: &str) -> PathBuf {
        let dir = self.home.path().join("served").join(name);
        init(&dir);
        dir
    }

    fn source(&self, text: &str) -> Source {
        let text = self.server.url(text);
        Source::new(&crate::dockerfile::git_reference(&text).unwrap().unwrap())
    }

    fn fetch(&self, source: &Source) -> Result<(Resolved, tempfile::TempDir), Error> {
        self.fetch_with(source, &Settings::default())
    }

    fn fetch_with(
        &self,
        source: &Source,
        settings: &Settings,
    ) -> Result<(Resolved, tempfile::TempDir), Error> {
        let remote = Remote::new(settings);
        let resolved = remote.git_resolve(source)?;
        let target = tempfile::tempdir_in(self.home.path()).unwrap();
        let repositories = self.home.path().join("repositories");
        let scratch = self.home.path().join("scratch");
        remote.git_tree(source, &resolved, &repositories, &scratch, target.path())?;
        // Nothing is left behind.
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        Ok((resolved, target))
    }
}

fn read(dir: &tempfile::TempDir, path: &str) -> Option<String> {
    fs::read_to_string(dir.path().join(path)).ok()
}

#[test]
fn branches_tags_commits_and_directories_are_found() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    fs::create_dir(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/f"), "one").unwrap();
    let first = commit(&dir);
    author(&dir, &["tag", "-a", "-m", "t", "v1"]);
    author(&dir, &["checkout", "-q", "-b", "other"]);
    fs::write(dir.join("sub/f"), "two").unwrap();
    let second = commit(&dir);
    author(&dir, &["checkout", "-q", "main"]);
    author(&dir, &["update-server-info"]);
    let check = |text: &str, path: &str, want: &str| {
        let (resolved, tree) = place.fetch(&place.source(text)).unwrap();
        assert_eq!(read(&tree, path).as_deref(), Some(want), "{text}");
        resolved
    };
    let default = check("r.git/.git", "sub/f", "one");
    assert_eq!(
        (default.reference.as_str(), default.commit()),
        ("refs/heads/main", first.as_str())
    );
    assert_eq!(check("r.git/.git#other:sub", "f", "two").commit(), second);
    assert_eq!(
        check("r.git/.git?branch=other", "sub/f", "two").commit(),
        second
    );
    let tag = check("r.git/.git#v1:/sub/", "f", "one");
    assert_eq!(tag.commit(), first);
    assert_ne!(tag.object, first);
    check(&format!("r.git/.git#{second}"), "sub/f", "two");
    check(
        &format!("r.git/.git?ref=other&checksum={}", &second[..8]),
        "sub/f",
        "two",
    );
    let fails = |text: &str, want: &str| {
        let err = place.fetch(&place.source(text)).unwrap_err().to_string();
        assert!(err.contains(want), "{text}: {err}");
    };
    fails("r.git/.git#none", "repository does not contain ref none");
    fails("r.git/.git#main:none", "invalid subdir none");
    fails("r.git/.git#main:sub/f", "not a directory");
    fails(
        &format!("r.git/.git?ref=main&checksum={second}"),
        "expected checksum to match",
    );
    fails("r.git/.git?checksum=foobar", "expected hex commit hash");
    fails(
        &format!("r.git/.git#{}", "0".repeat(40)),
        "does not contain ref 000",
    );
    fails("none.git", "failed to fetch remote http://127.0.0.1");
}

#[test]
fn a_new_commit_is_fetched_into_the_same_repository() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    let source = place.source("r.git/.git#main");
    for text in ["one", "two"] {
        fs::write(dir.join("f"), text).unwrap();
        let made = commit(&dir);
        let (resolved, tree) = place.fetch(&source).unwrap();
        assert_eq!(resolved.commit(), made);
        assert_eq!(read(&tree, "f").as_deref(), Some(text));
    }
    // A reference that becomes a directory is in the way of the old one.
    author(&dir, &["checkout", "-q", "-b", "a"]);
    commit(&dir);
    place.fetch(&place.source("r.git/.git#a")).unwrap();
    author(&dir, &["branch", "-m", "a", "a/b"]);
    commit(&dir);
    place.fetch(&place.source("r.git/.git#a/b")).unwrap();
}

#[test]
fn modes_and_times_are_those_of_the_commit() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    fs::create_dir(dir.join("d")).unwrap();
    fs::write(dir.join("d/program"), "#!").unwrap();
    fs::set_permissions(dir.join("d/program"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.join("plain"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("d/link")).unwrap();
    commit(&dir);
    let (_, tree) = place.fetch(&place.source("r.git/.git")).unwrap();
    for (path, mode) in [("d", 0o755), ("d/program", 0o755), ("plain", 0o644)] {
        let metadata = fs::symlink_metadata(tree.path().join(path)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.mtime()),
            (mode, 1_600_000_000),
            "{path}"
        );
    }
    let link = tree.path().join("d/link");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::symlink_metadata(link).unwrap().mtime(), 1_600_000_000);
    assert!(!tree.path().join(".git").exists());
    // A directory that is a link leads nowhere.
    std::os::unix::fs::symlink("/etc", dir.join("away")).unwrap();
    commit(&dir);
    let err = place
        .fetch(&place.source("r.git/.git#main:away"))
        .unwrap_err();
    assert!(matches!(err, Error::Subdir { .. }), "{err}");
}

#[test]
fn a_repository_can_be_kept() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    fs::write(dir.join("f"), "x").unwrap();
    let made = commit(&dir);
    author(&dir, &["tag", "v1"]);
    commit(&dir);
    for reference in ["main", "v1", made.as_str()] {
        let text = format!("r.git/.git?ref={reference}&keep-git-dir=1");
        let (_, tree) = place.fetch(&place.source(&text)).unwrap();
        let ask = |args: &[&str]| author(tree.path(), args);
        assert_eq!(ask(&["log", "--format=%s"]), "c");
        assert_eq!(ask(&["status", "--porcelain"]), "");
        assert_eq!(
            ask(&["remote", "get-url", "origin"]),
            place.server.url("r.git/.git")
        );
        if reference == "v1" {
            assert_eq!(ask(&["describe", "--tags"]), "v1");
        }
        assert!(!tree.path().join(".git/hooks").exists());
    }
}

#[test]
fn submodules_come_along_from_the_network_only() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let inner = place.repository("inner.git");
    fs::write(inner.join("f"), "inner").unwrap();
    commit(&inner);
    let outer = place.repository("outer.git");
    let path = inner.to_str().unwrap();
    author(
        &outer,
        &[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            path,
            "lib/in",
        ],
    );
    let url = |url: &str| {
        let text = format!(
            "[submodule \"x\"]\n\tpath = lib/in\n\turl = {url}\n\tupdate = !touch /tmp/evil\n"
        );
        fs::write(outer.join(".gitmodules"), text).unwrap();
        commit(&outer);
    };
    url("../../inner.git/.git");
    let (_, tree) = place.fetch(&place.source("outer.git/.git")).unwrap();
    assert_eq!(read(&tree, "lib/in/f").as_deref(), Some("inner"));
    let (_, tree) = place
        .fetch(&place.source("outer.git/.git?submodules=false"))
        .unwrap();
    assert_eq!(read(&tree, "lib/in/f"), None);
    for evil in [path, &format!("file://{path}"), "ext::sh -c id", "-uid"] {
        url(evil);
        let err = place.fetch(&place.source("outer.git/.git")).unwrap_err();
        assert!(
            matches!(err, Error::Remote { .. } | Error::Git { .. }),
            "{evil}: {err}"
        );
    }
    // One that is its own submodule has no end.
    url("../../outer.git/.git");
    assert!(place.fetch(&place.source("outer.git/.git")).is_err());
}

#[test]
fn what_a_repository_or_this_machine_configures_does_not_run() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    let mark = place.home.path().join("ran");
    let touch = format!("touch {}", mark.display());
    fs::write(dir.join(".gitattributes"), "* filter=evil diff=evil\n").unwrap();
    fs::write(dir.join("f"), "text").unwrap();
    commit(&dir);
    // What the user has configured does not count either.
    let config = place.home.path().join(".gitconfig");
    fs::write(
        &config,
        format!(
            "[filter \"evil\"]\n\tsmudge = {touch}\n\tprocess = {touch}\n[core]\n\tfsmonitor = {touch}\n\
             \tsshCommand = {touch}\n[credential]\n\thelper = !{touch}\n"
        ),
    )
    .unwrap();
    let mut settings = Settings::default();
    let home = place.home.path().to_str().unwrap().to_owned();
    settings.environment.insert("HOME".to_owned(), home);
    let file = config.to_str().unwrap().to_owned();
    settings
        .environment
        .insert("GIT_CONFIG_GLOBAL".to_owned(), file);
    let (_, tree) = place
        .fetch_with(&place.source("r.git/.git"), &settings)
        .unwrap();
    assert_eq!(read(&tree, "f").as_deref(), Some("text"));
    assert!(!mark.exists());
}

#[test]
fn huge_trees_are_refused() {
    if !has_git() {
        return;
    }
    let place = Place::new();
    let dir = place.repository("r.git");
    fs::write(dir.join("f"), vec![b'x'; 3 << 20]).unwrap();
    commit(&dir);
    let settings = Settings {
        limit_bytes: 1 << 20,
        ..Settings::default()
    };
    let err = place
        .fetch_with(&place.source("r.git/.git"), &settings)
        .unwrap_err();
    assert!(matches!(err, Error::TooLarge { .. }), "{err:?}");
}

#[test]
fn a_missing_program_is_named_with_a_remedy() {
    let err = Error::NoGit {
        remote: "https://h/r.git".to_owned(),
    };
    assert_eq!(
        err.to_string(),
        "cannot fetch `https://h/r.git`: the program `git` was not found"
    );
    assert!(err.hint().unwrap().contains("install git"));
}
