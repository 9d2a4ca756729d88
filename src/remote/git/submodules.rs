//! Submodules: which there are, and where they come from.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::super::{Error, Remote};
use super::Source;
use super::checkout::{Budget, Link, Place, clear};
use super::program::Job;
use super::resolve::{Resolved, check_remote, is_object_name};

/// Most submodules of one tree, those of submodules included.
const COUNT_LIMIT: u32 = 1_000;
/// Deepest submodule of a submodule.
const DEPTH_LIMIT: usize = 16;
/// Largest `.gitmodules`.
const LIST_LIMIT: u64 = 4 << 20;

impl Remote<'_> {
    /// Fills the directories of a tree's submodules.
    pub(super) fn submodules(
        &self,
        source: &Source,
        links: &[Link],
        place: &Place<'_>,
        files: &Path,
        budget: &Budget,
        depth: usize,
    ) -> Result<(), Error> {
        let refuse = |why: String| Error::Tree {
            remote: source.shown(),
            why,
        };
        if depth >= DEPTH_LIMIT {
            return Err(refuse(format!(
                "its submodules go deeper than {DEPTH_LIMIT}"
            )));
        }
        let known = self.module_urls(source, files)?;
        for link in links {
            let shown = link.path.display();
            let url = known.get(&link.path).ok_or_else(|| {
                refuse(format!(
                    "no url found for submodule path '{shown}' in .gitmodules"
                ))
            })?;
            if !is_object_name(&link.commit) {
                return Err(refuse(format!("submodule '{shown}' names no commit")));
            }
            let count = budget.modules.get() + 1;
            budget.modules.set(count);
            if count > COUNT_LIMIT {
                return Err(refuse(format!("it has more than {COUNT_LIMIT} submodules")));
            }
            let remote = resolve_url(&source.remote, url).ok_or_else(|| {
                refuse(format!(
                    "cannot strip one component off url of submodule '{shown}'"
                ))
            })?;
            check_remote(&remote)?;
            let target = directory(files, &link.path).ok_or_else(|| {
                refuse(format!(
                    "submodule '{shown}' is not at a directory of its own"
                ))
            })?;
            let module = Source {
                remote,
                reference: Some(link.commit.clone()),
                checksum: None,
                subdir: None,
                submodules: true,
                fetch_by_commit: false,
                keep_git_dir: source.keep_git_dir,
                mtime_of_checkout: source.mtime_of_checkout,
            };
            let place = Place {
                target: &target,
                ..*place
            };
            clear(&target)?;
            self.check_out(
                &module,
                &Resolved::of_commit(&link.commit),
                &place,
                budget,
                depth + 1,
            )?;
        }
        Ok(())
    }

    /// The addresses in `.gitmodules`, by path.
    fn module_urls(
        &self,
        source: &Source,
        files: &Path,
    ) -> Result<BTreeMap<PathBuf, String>, Error> {
        let file = files.join(".gitmodules");
        // A link would let it read any file of this machine.
        if !std::fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(BTreeMap::new());
        }
        let job = Job {
            output_bytes: Some(LIST_LIMIT),
            ..Job::default()
        };
        let file = file.to_string_lossy().into_owned();
        let args = [
            "config",
            "--file",
            &file,
            "--no-includes",
            "-z",
            "--get-regexp",
            r"^submodule\..*\.(path|url)$",
        ];
        let output = self.git(&job, &args)?;
        if output.code > 1 {
            return Err(super::program::failure(
                "read the submodules of",
                &source.remote,
                &output,
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut modules: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
        for (key, value) in text.split('\0').filter_map(|pair| pair.split_once('\n')) {
            let Some(name) = key.strip_prefix("submodule.") else {
                continue;
            };
            if let Some(name) = name.strip_suffix(".path") {
                modules.entry(name).or_default().0 = Some(value);
            } else if let Some(name) = name.strip_suffix(".url") {
                modules.entry(name).or_default().1 = Some(value);
            }
        }
        let pairs = modules.into_values().filter_map(|(path, url)| {
            let path: PathBuf = Path::new(path?).components().collect();
            Some((path, url?.to_owned()))
        });
        Ok(pairs.collect())
    }
}

/// The directory at `path` in a tree, if it is one through directories only.
fn directory(tree: &Path, path: &Path) -> Option<PathBuf> {
    let mut dir = tree.to_owned();
    for component in path.components() {
        let Component::Normal(name) = component else {
            return None;
        };
        dir.push(name);
        if !std::fs::symlink_metadata(&dir).ok()?.is_dir() {
            return None;
        }
    }
    (dir != tree).then_some(dir)
}

/// A submodule's address, which may be relative to its parent's, as git reads it.
fn resolve_url(parent: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    let mut base = parent.trim_end_matches('/').to_owned();
    let mut rest = url;
    // What stands before this is the server's, not a path.
    let floor = match base.split_once("://") {
        Some((scheme, after)) => scheme.len() + 3 + after.find('/').unwrap_or(after.len()),
        None => base.find(':')? + 1,
    };
    let mut separator = '/';
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            match base.rfind('/').filter(|at| *at >= floor) {
                Some(at) => base.truncate(at),
                None if base.len() > floor && !base.contains("://") => {
                    base.truncate(floor);
                    separator = '\0';
                }
                None => return None,
            }
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    let rest = rest.trim_end_matches('/');
    Some(if separator == '/' {
        format!("{base}/{rest}")
    } else {
        format!("{base}{rest}")
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn addresses_are_relative_to_the_parent() {
        let check = |parent: &str, url: &str, want: Option<&str>| {
            assert_eq!(resolve_url(parent, url).as_deref(), want, "{parent} {url}");
        };
        check("https://h/a/b.git", "https://o/c", Some("https://o/c"));
        check("https://h/a/b.git", "../c.git", Some("https://h/a/c.git"));
        check("https://h/a/b.git/", "./c", Some("https://h/a/b.git/c"));
        check("https://h/a", "../../../c", None);
        check("git@h:a/b.git", "../c.git", Some("git@h:a/c.git"));
        check("git@h:b.git", "../c.git", Some("git@h:c.git"));
        check("git@h:b.git", "../../c.git", None);
    }
}
