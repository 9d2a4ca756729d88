//! From a commit to files.

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::super::{Error, Remote};
use super::program::Job;
use super::resolve::Resolved;
use super::{Source, redact};
use crate::fs::{At, PathError, remove_tree};

/// Largest list of a commit's files: some ten million.
const LIST_LIMIT: u64 = 1 << 30;
/// Largest list of references or short answers.
const ANSWER_LIMIT: u64 = 1 << 20;

/// Where a checkout happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Where bare repositories are kept.
    pub(super) repositories: &'a Path,
    /// A directory for what is needed meanwhile.
    pub(super) scratch: &'a Path,
    /// The empty directory to fill.
    pub(super) target: &'a Path,
}

/// What a tree with all its submodules may still use.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: u64,
    bytes: Cell<u64>,
    /// Submodules so far, which also names their scratch directories.
    pub(super) modules: Cell<u32>,
}

impl Budget {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            bytes: Cell::new(0),
            modules: Cell::new(0),
        }
    }
}

/// A submodule's place and commit in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) commit: String,
}

impl Remote<'_> {
    /// Fetches `resolved` and fills the place's target with its tree, submodules included.
    pub(super) fn check_out(
        &self,
        source: &Source,
        resolved: &Resolved,
        place: &Place<'_>,
        budget: &Budget,
        depth: usize,
    ) -> Result<(), Error> {
        let directory = source.directory().to_owned();
        let inside = tempfile::Builder::new()
            .prefix("git-")
            .tempdir_in(place.scratch)
            .at("create a directory in", place.scratch)?;
        let tree = inside.path().join("tree");
        let files = if directory.is_empty() {
            place.target
        } else {
            tree.as_path()
        };
        if !directory.is_empty() {
            std::fs::create_dir(&tree).at("create", &tree)?;
        }
        let (links, time) =
            self.check_out_files(source, resolved, place, files, inside.path(), budget)?;
        if source.submodules && !links.is_empty() {
            self.submodules(source, &links, place, files, budget, depth)?;
        }
        normalize(files, source.has_git_dir() || depth > 0, time)?;
        if directory.is_empty() {
            return Ok(());
        }
        let part = subdirectory(&tree, &directory)?;
        // Over an empty directory, which keeps the name that it had.
        std::fs::rename(&part, place.target).at("move", &part)?;
        Ok(())
    }

    /// The files of the repository itself; it is let go of before submodules come,
    /// which may be other versions of the same.
    fn check_out_files(
        &self,
        source: &Source,
        resolved: &Resolved,
        place: &Place<'_>,
        files: &Path,
        inside: &Path,
        budget: &Budget,
    ) -> Result<(Vec<Link>, Option<SystemTime>), Error> {
        let remote = source.remote.as_str();
        let repository = self.fetch(remote, resolved, place.repositories)?;
        let dir = repository.dir.as_path();
        let ask = |args: &[&str], output_bytes| {
            let job = Job {
                repository: Some(dir),
                output_bytes: Some(output_bytes),
                ..Job::default()
            };
            self.git_done(&job, "read", remote, args)
        };
        let commit = format!("{}^{{commit}}", resolved.object);
        let commit = ask(&["rev-parse", "--verify", &commit], ANSWER_LIMIT)?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        let list = ask(
            &["ls-tree", "-r", "-l", "-z", "--full-tree", &commit],
            LIST_LIMIT,
        )?;
        let links = look_over(remote, &list, budget)?;
        let index = inside.join("index");
        let job = Job {
            repository: Some(dir),
            tree: Some(files),
            index: Some(&index),
            ..Job::default()
        };
        let args = [
            "-c",
            "core.bare=false",
            "read-tree",
            "--reset",
            "-u",
            &commit,
        ];
        self.git_done(&job, "checkout remote", remote, &args)?;
        if source.has_git_dir() {
            self.keep_git_dir(source, resolved, &commit, dir, files)?;
        }
        let time = if source.mtime_of_checkout {
            None
        } else {
            let time = ask(&["log", "-1", "--format=%ct", &commit], ANSWER_LIMIT)?;
            let seconds = String::from_utf8_lossy(&time)
                .trim()
                .parse::<u64>()
                .unwrap_or(0);
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799)))
        };
        Ok((links, time))
    }

    /// Makes `.git`: a repository with this one commit, its head detached.
    fn keep_git_dir(
        &self,
        source: &Source,
        resolved: &Resolved,
        commit: &str,
        from: &Path,
        files: &Path,
    ) -> Result<(), Error> {
        let remote = source.remote.as_str();
        let dir = files.join(".git");
        let run =
            |job: &Job<'_>, args: &[&str]| self.git_done(job, "checkout remote", remote, args);
        let job = Job {
            repository: Some(&dir),
            tree: Some(files),
            ..Job::default()
        };
        let format = match resolved.object.len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        run(
            &job,
            &["init", "--quiet", "--initial-branch=master", format],
        )?;
        // Fetching through the protocol copies what the commit needs, and nothing else.
        let local = Job {
            from_local: true,
            ..job
        };
        let url = format!("file://{}", from.display());
        let name = if resolved.reference.starts_with("refs/") {
            resolved.reference.clone()
        } else {
            "refs/rbuild/commit".to_owned()
        };
        let held = format!("refs/rbuild/hold/{}", resolved.object);
        let own = Job {
            repository: Some(from),
            ..Job::default()
        };
        run(&own, &["update-ref", &held, &resolved.object])?;
        let wanted = format!("+{held}:{name}");
        run(
            &local,
            &[
                "fetch",
                "--quiet",
                "--update-head-ok",
                "--depth=1",
                "--no-tags",
                "--",
                &url,
                &wanted,
            ],
        )?;
        let job = Job {
            repository: Some(&dir),
            tree: Some(files),
            ..Job::default()
        };
        run(&job, &["update-ref", "--no-deref", "HEAD", commit])?;
        run(&job, &["read-tree", commit])?;
        run(&job, &["config", "remote.origin.url", &source.shown()])?;
        run(
            &job,
            &[
                "config",
                "remote.origin.fetch",
                "+refs/heads/*:refs/remotes/origin/*",
            ],
        )?;
        match std::fs::remove_file(dir.join("FETCH_HEAD")) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(err).at("remove", dir.join("FETCH_HEAD"))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Adds up the files of a list by `ls-tree -r -l -z`; returns the submodules.
fn look_over(remote: &str, list: &[u8], budget: &Budget) -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    for line in list
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let text = String::from_utf8_lossy(line);
        let Some((facts, path)) = text.split_once('\t') else {
            continue;
        };
        let mut facts = facts.split_whitespace();
        let (mode, _, object, size) = (facts.next(), facts.next(), facts.next(), facts.next());
        if mode == Some("160000") {
            links.push(Link {
                path: PathBuf::from(path),
                commit: object.unwrap_or_default().to_owned(),
            });
        }
        let size: u64 = size.and_then(|size| size.parse().ok()).unwrap_or(0);
        let bytes = budget.bytes.get().saturating_add(size);
        if bytes > budget.limit_bytes {
            return Err(Error::TooLarge {
                what: redact(remote),
                limit_bytes: budget.limit_bytes,
            });
        }
        budget.bytes.set(bytes);
    }
    Ok(links)
}

/// The directory `part` of a tree, every component of it a real directory.
fn subdirectory(tree: &Path, part: &str) -> Result<PathBuf, Error> {
    let refuse = |why| Error::Subdir {
        subdir: part.to_owned(),
        why,
    };
    let mut dir = tree.to_owned();
    for component in Path::new(part).components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(refuse("it leads out of the repository")),
        };
        dir.push(name);
        match std::fs::symlink_metadata(&dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(refuse("not a directory")),
            Err(_) => return Err(refuse("no such file or directory")),
        }
    }
    Ok(dir)
}

/// Gives every file mode 0644 or 0755, every directory 0755, and all of them `time`.
/// The files of a `.git` keep their modes. Nobody else writes here, so names can be trusted.
fn normalize(dir: &Path, has_git_dir: bool, time: Option<SystemTime>) -> Result<(), PathError> {
    let mut dirs = vec![(dir.to_owned(), false)];
    let mut next = 0;
    while let Some((dir, in_git)) = dirs.get(next).cloned() {
        next += 1;
        if !in_git {
            std::fs::set_permissions(&dir, Permissions::from_mode(0o755))
                .at("change the mode of", &dir)?;
        }
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let path = entry.path();
            let metadata = entry.metadata().at("look at", &path)?;
            let is_git = in_git || (has_git_dir && entry.file_name() == ".git");
            if metadata.is_dir() {
                dirs.push((path, is_git));
                continue;
            }
            if metadata.is_file() && !is_git {
                let mode = if metadata.permissions().mode() & 0o100 == 0 {
                    0o644
                } else {
                    0o755
                };
                std::fs::set_permissions(&path, Permissions::from_mode(mode))
                    .at("change the mode of", &path)?;
            }
            set_time(&path, time)?;
        }
    }
    // What lies in a directory changes its time.
    for (dir, _) in dirs.iter().rev() {
        set_time(dir, time)?;
    }
    Ok(())
}

fn set_time(path: &Path, time: Option<SystemTime>) -> Result<(), PathError> {
    let Some(time) = time else {
        return Ok(());
    };
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}

/// Removes what a failed checkout left in `dir`, itself excepted.
pub(super) fn clear(dir: &Path) -> Result<(), PathError> {
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        remove_tree(&entry.at("list", dir)?.path())?;
    }
    Ok(())
}
