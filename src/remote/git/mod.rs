//! Trees from git repositories, fetched by the program `git`.
//!
//! A repository that is fetched from can name no program to run: hooks, filters,
//! transports, helpers and the user's configuration are out of its reach
//! (`program` has the list). Each remote has a bare repository of its own between builds,
//! so that a new commit costs what is new of it. Submodules are followed here
//! and not by git, their addresses and places checked.

mod checkout;
mod fetch;
mod program;
mod resolve;
mod submodules;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use resolve::Resolved;

use super::redact;
use super::{Error, Remote};
use crate::dockerfile::GitReference;
use crate::fs::At;

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What `git` is told to fetch from; may hold credentials.
    pub remote: String,
    /// A commit, tag or branch; the default branch when absent.
    pub reference: Option<String>,
    /// How the commit's name must begin.
    pub checksum: Option<String>,
    /// A directory within the repository.
    pub subdir: Option<String>,
    /// Whether `.git` comes along.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// Whether files are as old as their checkout, and not as their commit.
    pub mtime_of_checkout: bool,
    /// Whether the checksum is fetched without looking at the reference.
    pub fetch_by_commit: bool,
}

impl Source {
    /// What a reference asks for.
    pub fn new(reference: &GitReference) -> Self {
        let remote = if reference.indistinguishable_from_local {
            format!("https://{}", reference.remote)
        } else {
            reference.remote.clone()
        };
        Self {
            remote,
            reference: reference.reference.clone(),
            checksum: reference.checksum.clone(),
            subdir: reference.subdir.clone(),
            keep_git_dir: reference.keep_git_dir.unwrap_or(false),
            submodules: reference.submodules.unwrap_or(true),
            mtime_of_checkout: reference.mtime_of_commit == Some(false),
            fetch_by_commit: reference.fetch_by_commit,
        }
    }

    /// The remote without credentials.
    pub fn shown(&self) -> String {
        redact(&self.remote)
    }

    /// Whether the checkout holds a `.git`: a part of a repository cannot.
    fn has_git_dir(&self) -> bool {
        self.keep_git_dir && self.directory().is_empty()
    }

    /// The directory that is wanted; empty for the whole tree.
    fn directory(&self) -> &str {
        self.subdir.as_deref().unwrap_or_default().trim_matches('/')
    }

    /// What decides about the tree of a resolved commit, as names and values.
    pub fn parts(&self, resolved: &Resolved) -> Vec<(&'static str, String)> {
        let mut parts = vec![];
        if self.has_git_dir() {
            // The repository names where it is from.
            parts.push(("commit", resolved.object.clone()));
            parts.push(("reference", resolved.reference.clone()));
            parts.push(("remote", self.shown()));
        } else {
            parts.push(("commit", resolved.commit().to_owned()));
        }
        parts.push(("directory", self.directory().to_owned()));
        if !self.submodules {
            parts.push(("submodules", "none".to_owned()));
        }
        if self.mtime_of_checkout {
            parts.push(("times", "checkout".to_owned()));
        }
        parts
    }
}

impl Remote<'_> {
    /// Fills the empty directory `target` with the tree of `resolved`; returns its
    /// size in bytes. `repositories` is where bare repositories are kept between
    /// builds, `scratch` a directory on the file system of `target`.
    pub fn git_tree(
        &self,
        source: &Source,
        resolved: &Resolved,
        repositories: &Path,
        scratch: &Path,
        target: &Path,
    ) -> Result<u64, Error> {
        // Data roots of earlier versions have none.
        std::fs::create_dir_all(repositories).at("create", repositories)?;
        let budget = checkout::Budget::new(self.settings.limit_bytes);
        let place = checkout::Place {
            repositories,
            scratch,
            target,
        };
        self.check_out(source, resolved, &place, &budget, 0)?;
        Ok(program::bytes_beneath(target))
    }
}
