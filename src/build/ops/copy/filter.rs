//! `--exclude`, and the part of a `--parents` source behind its pivot: which
//! entries beneath a source are taken.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::source::SourceTree;
use crate::context::{IgnoreError, Patterns, Verdict};
use crate::fs::PathError;
use crate::layer::{Entry, EntryKind};

/// What is taken of a directory. Patterns are relative to it.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Only what these match, and what lies beneath.
    include: Option<Patterns>,
    /// Nothing that these match.
    exclude: Option<Patterns>,
}

/// What was taken of a directory.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The entries in canonical order.
    pub(super) entries: Vec<Entry>,
    /// Directories among them that only what lies in them asked for.
    pub(super) passed: HashSet<PathBuf>,
}

/// A directory on the way to the entry that is looked at.
struct Open {
    path: PathBuf,
    included: Option<Verdict>,
    excluded: Option<Verdict>,
    /// The directory itself, until it is taken.
    waiting: Option<Entry>,
}

impl Filter {
    /// Leaves out what `exclude` matches.
    pub(super) fn new(exclude: &[String]) -> Result<Self, IgnoreError> {
        Ok(Self {
            include: None,
            exclude: compile(exclude)?,
        })
    }

    /// Takes only what `pattern` matches as well; an empty one matches everything.
    pub(super) fn only(&self, pattern: String) -> Result<Self, IgnoreError> {
        let pattern = Some(pattern).filter(|pattern| !pattern.is_empty());
        Ok(Self {
            include: compile(pattern.as_slice())?,
            exclude: self.exclude.clone(),
        })
    }

    /// Whether a lone file of this name is left out.
    pub(super) fn excludes(&self, name: &Path) -> bool {
        let exclude = self.exclude.as_ref();
        exclude.is_some_and(|exclude| exclude.matches(name))
    }

    /// What is taken of the directory `root`.
    pub(super) fn walk(&self, tree: &dyn SourceTree, root: &Path) -> Result<Taken, PathError> {
        if self.include.is_none() && self.exclude.is_none() {
            return Ok(Taken {
                entries: tree.walk(root, &|_| true)?,
                passed: HashSet::new(),
            });
        }
        let below = |path: &Path| self.may_take_below(path.strip_prefix(root).unwrap_or(path));
        let mut taken = self.choose(root, tree.walk(root, &below)?);
        relink(tree, &mut taken.entries)?;
        Ok(taken)
    }

    /// Whether a directory can have anything beneath it that is taken.
    fn may_take_below(&self, path: &Path) -> bool {
        let include = self.include.as_ref();
        let exclude = self.exclude.as_ref();
        include.is_none_or(|include| include.may_match_below(path))
            && !exclude.is_some_and(|exclude| !exclude.has_exclusions() && exclude.matches(path))
    }

    fn choose(&self, root: &Path, found: Vec<Entry>) -> Taken {
        let mut taken = Taken::default();
        let mut open: Vec<Open> = Vec::new();
        for entry in found {
            while open
                .last()
                .is_some_and(|dir| entry.path.parent() != Some(&dir.path))
            {
                open.pop();
            }
            let relative = entry.path.strip_prefix(root).unwrap_or(&entry.path);
            let above = open.last();
            let judge = |patterns: &Option<Patterns>, above: Option<&Verdict>| {
                let patterns = patterns.as_ref()?;
                Some(patterns.judge(relative, above))
            };
            let included = judge(&self.include, above.and_then(|dir| dir.included.as_ref()));
            let excluded = judge(&self.exclude, above.and_then(|dir| dir.excluded.as_ref()));
            let is_taken = included.as_ref().is_none_or(|verdict| verdict.is_ignored)
                && !excluded.as_ref().is_some_and(|verdict| verdict.is_ignored);
            let path = entry.path.clone();
            let is_dir = matches!(entry.kind, EntryKind::Directory { .. });
            let mut waiting = None;
            if is_taken {
                for dir in open.iter_mut().filter_map(|dir| dir.waiting.take()) {
                    taken.passed.insert(dir.path.clone());
                    taken.entries.push(dir);
                }
                taken.entries.push(entry);
            } else if is_dir {
                waiting = Some(entry);
            }
            if is_dir {
                open.push(Open {
                    path,
                    included,
                    excluded,
                    waiting,
                });
            }
        }
        taken
    }
}

fn compile(patterns: &[String]) -> Result<Option<Patterns>, IgnoreError> {
    let patterns = Patterns::new(patterns)?;
    Ok(Some(patterns).filter(|patterns| !patterns.is_empty()))
}

/// Hard links whose first name was left out link to the first name that was not.
fn relink(tree: &dyn SourceTree, entries: &mut [Entry]) -> Result<(), PathError> {
    let firsts: HashSet<PathBuf> = entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .map(|entry| entry.path.clone())
        .collect();
    let mut heirs: HashMap<PathBuf, PathBuf> = HashMap::new();
    for entry in entries {
        let EntryKind::HardLink(first) = &entry.kind else {
            continue;
        };
        if firsts.contains(first) {
            continue;
        }
        if let Some(heir) = heirs.get(first) {
            entry.kind = EntryKind::HardLink(heir.clone());
            continue;
        }
        heirs.insert(first.clone(), entry.path.clone());
        if let Some(own) = tree.entry(&entry.path)? {
            entry.kind = own.kind;
        }
    }
    Ok(())
}
