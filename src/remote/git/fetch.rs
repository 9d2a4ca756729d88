//! Bare repositories, one for each remote, that keep what was fetched.

use std::path::{Path, PathBuf};

use super::super::{Error, Remote};
use super::program::{Job, bytes_beneath, failure};
use super::resolve::{Resolved, is_object_name};
use crate::fs::{At, Lock, remove_tree};
use crate::oci::Digest;

/// A remote's repository on this disk, ours as long as this lives.
#[derive(Debug)]
pub(super) struct Repository {
    /// Where it is.
    pub(super) dir: PathBuf,
    _turn: Lock,
}

impl Remote<'_> {
    /// Makes sure that the object of `resolved` is in the remote's repository.
    pub(super) fn fetch(
        &self,
        remote: &str,
        resolved: &Resolved,
        repositories: &Path,
    ) -> Result<Repository, Error> {
        let name = Digest::of(remote.as_bytes()).hex();
        let turn = Lock::exclusive(&repositories.join(format!("{name}.lock")))?;
        let repository = Repository {
            dir: repositories.join(name),
            _turn: turn,
        };
        let was_there = repository.dir.join("HEAD").exists();
        if was_there && bytes_beneath(&repository.dir) > self.settings.limit_bytes / 2 {
            // What is kept may not use up what the next fetch may need.
            remove_tree(&repository.dir)?;
        }
        self.init(remote, resolved, &repository.dir)?;
        match self.fetch_into(remote, resolved, &repository.dir) {
            // What is there may be in the way, such as a reference that now is a
            // directory; or damaged by a power cut.
            Err(Error::Git { .. }) if was_there => {
                remove_tree(&repository.dir)?;
                self.init(remote, resolved, &repository.dir)?;
                self.fetch_into(remote, resolved, &repository.dir)?;
            }
            other => other?,
        }
        Ok(repository)
    }

    fn init(&self, remote: &str, resolved: &Resolved, dir: &Path) -> Result<(), Error> {
        if dir.join("HEAD").exists() && dir.join("objects").exists() {
            // A killed git leaves this; nobody else works here now.
            drop(std::fs::remove_file(dir.join("shallow.lock")));
            return Ok(());
        }
        std::fs::create_dir_all(dir).at("create", dir)?;
        let format = match resolved.object.len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        let job = Job {
            repository: Some(dir),
            ..Job::default()
        };
        let args = ["init", "--quiet", "--bare", "--initial-branch=main", format];
        self.git_done(&job, "prepare", remote, &args)?;
        Ok(())
    }

    fn fetch_into(&self, remote: &str, resolved: &Resolved, dir: &Path) -> Result<(), Error> {
        if self.has(dir, &resolved.object)? {
            return Ok(());
        }
        let by_name = !is_object_name(&resolved.reference);
        let wanted = if by_name {
            let rest = resolved.reference.trim_start_matches("refs/");
            format!("+{}:refs/rbuild/{rest}", resolved.reference)
        } else {
            resolved.object.clone()
        };
        let first = self.fetch_shallow(remote, dir, &wanted);
        if first.is_ok() && self.has(dir, &resolved.object)? {
            return Ok(());
        }
        if by_name {
            first?;
            // The reference moved since it was looked up.
            drop(self.fetch_shallow(remote, dir, &resolved.object));
        } else if let Err(err @ (Error::Canceled | Error::TooLarge { .. })) = first {
            return Err(err);
        }
        if !self.has(dir, &resolved.object)? {
            // Many servers give no commit by its name: it may be in the history of a reference.
            self.fetch_all(remote, dir)?;
        }
        if self.has(dir, &resolved.object)? {
            return Ok(());
        }
        Err(Error::NoReference {
            reference: resolved.object.clone(),
            output: String::new(),
        })
    }

    /// Fetches one reference or commit without its history, where the server can do that.
    fn fetch_shallow(&self, remote: &str, dir: &Path, wanted: &str) -> Result<(), Error> {
        let job = job(remote, dir);
        let shallow = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--",
            remote,
            wanted,
        ];
        let output = self.git(&job, &shallow)?;
        if output.code == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        // Repositories behind a plain web server have no way to leave history out.
        if text.contains("shallow") || text.contains("--depth") {
            let whole = ["fetch", "--quiet", "--no-tags", "--", remote, wanted];
            self.git_done(&job, "fetch remote", remote, &whole)?;
            return Ok(());
        }
        Err(failure("fetch remote", remote, &output))
    }

    fn fetch_all(&self, remote: &str, dir: &Path) -> Result<(), Error> {
        let mut args = vec!["fetch", "--quiet", "--no-tags"];
        if dir.join("shallow").exists() {
            args.push("--unshallow");
        }
        args.extend([
            "--",
            remote,
            "+refs/heads/*:refs/rbuild/heads/*",
            "+refs/tags/*:refs/rbuild/tags/*",
        ]);
        self.git_done(&job(remote, dir), "fetch remote", remote, &args)?;
        Ok(())
    }

    /// Whether an object is there, with the commit that it leads to.
    fn has(&self, dir: &Path, object: &str) -> Result<bool, Error> {
        let job = Job {
            repository: Some(dir),
            ..Job::default()
        };
        let output = self.git(&job, &["cat-file", "-e", &format!("{object}^{{commit}}")])?;
        Ok(output.code == 0)
    }
}

/// Fetching into a repository.
fn job<'a>(remote: &'a str, dir: &'a Path) -> Job<'a> {
    Job {
        repository: Some(dir),
        remote: Some(remote),
        grows: Some(dir),
        ..Job::default()
    }
}
