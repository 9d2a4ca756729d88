//! Which files COPY takes: sources to entries, links followed, wildcards matched.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::filter::{Filter, Taken};
use super::source::{SourceTree, base_name, clean};
use super::{CopyError, glob};
use crate::build::chmod::Chmod;
use crate::build::graph::{CopyOp, CopyPattern, CopySource};
use crate::layer::{Entry, EntryKind};
use crate::oci::{Digest, Hasher};

/// Everything that one source names.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    /// The tree that it lies in, by its place in [`CopyOp::trees`].
    pub(super) tree: usize,
    /// The pattern that names it, by its place in the instruction.
    pub(super) pattern: usize,
    /// The name it has when it is put into a directory.
    pub(super) name: OsString,
    /// The entry itself; its path is the one in the source tree.
    pub(super) entry: Entry,
    /// What lies beneath it, for a directory, in canonical order.
    pub(super) beneath: Vec<Entry>,
    /// Directories among these that are there only for what lies in them.
    pub(super) passed: HashSet<PathBuf>,
}

/// What an instruction's sources name.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// One for each source or match of a wildcard, in order.
    pub(super) items: Vec<Selected>,
}

impl Selection {
    /// Every entry, with the number of its tree.
    pub(super) fn entries_mut(&mut self) -> Vec<(usize, &mut Entry)> {
        let mut entries = Vec::new();
        for item in &mut self.items {
            entries.push((item.tree, &mut item.entry));
            entries.extend(item.beneath.iter_mut().map(|entry| (item.tree, entry)));
        }
        entries
    }

    /// The digest of all that enters the cache key: names, kinds, modes, owners,
    /// xattrs, link targets and contents; no times. Every digest must be known.
    /// Where the instruction has several trees, only what lies in those that
    /// `counts` says yes to is looked at, and which pattern named it counts too.
    pub(super) fn digest(&self, op: &CopyOp, counts: impl Fn(CopySource) -> bool) -> Digest {
        let trees = op.trees();
        let mut hasher = Hasher::new();
        for item in &self.items {
            if !trees.get(item.tree).is_some_and(|tree| counts(*tree)) {
                continue;
            }
            hasher.part(b"item");
            if trees.len() > 1 {
                hasher.part(item.pattern.to_string().as_bytes());
            }
            hasher.part(item.name.as_bytes());
            let mode = op.chmod.as_ref().and_then(Chmod::fixed);
            hash_item(&mut hasher, &item.entry, &item.beneath, mode);
            for passed in item
                .beneath
                .iter()
                .filter(|one| item.passed.contains(&one.path))
            {
                hasher.part(b"passed");
                hasher.part(passed.path.as_os_str().as_bytes());
            }
        }
        hasher.finish()
    }
}

/// The digest of one file or directory, its name aside. Digests of contents must be known.
pub(super) fn digest_of((_, entry, taken): &Named) -> Digest {
    let mut hasher = Hasher::new();
    hash_item(&mut hasher, entry, &taken.entries, None);
    hasher.finish()
}

/// `mode` is the one that the copy gets, where that does not depend on the source's.
fn hash_item(hasher: &mut Hasher, entry: &Entry, beneath: &[Entry], mode: Option<u32>) {
    hash_entry(hasher, Path::new(""), entry, &entry.path, mode);
    for inner in beneath {
        let relative = inner.path.strip_prefix(&entry.path).unwrap_or(&inner.path);
        hash_entry(hasher, relative, inner, &entry.path, mode);
    }
}

fn hash_entry(hasher: &mut Hasher, path: &Path, entry: &Entry, root: &Path, mode: Option<u32>) {
    hasher.part(path.as_os_str().as_bytes());
    let mode = mode.filter(|_| !matches!(entry.kind, EntryKind::Symlink(_)));
    let numbers = [mode.unwrap_or(entry.mode), entry.uid, entry.gid];
    hasher.part(&numbers.map(u32::to_le_bytes).concat());
    for (name, value) in &entry.xattrs {
        hasher.part(name.as_bytes());
        hasher.part(value);
    }
    let device = |hasher: &mut Hasher, kind: &[u8], major: u32, minor: u32| {
        hasher.part(kind);
        hasher.part(&[major, minor].map(u32::to_le_bytes).concat());
    };
    match &entry.kind {
        EntryKind::File { content, .. } => {
            hasher.part(b"file");
            hasher.part(content.as_ref().map_or(&[][..], |digest| &digest.raw()[..]));
        }
        EntryKind::Directory { .. } => hasher.part(b"dir"),
        EntryKind::Symlink(target) => {
            hasher.part(b"symlink");
            hasher.part(target.as_os_str().as_bytes());
        }
        EntryKind::HardLink(first) => {
            hasher.part(b"hardlink");
            let first = first.strip_prefix(root).unwrap_or(first);
            hasher.part(first.as_os_str().as_bytes());
        }
        EntryKind::CharDevice { major, minor } => device(hasher, b"char", *major, *minor),
        EntryKind::BlockDevice { major, minor } => device(hasher, b"block", *major, *minor),
        EntryKind::Fifo => hasher.part(b"fifo"),
        EntryKind::Whiteout => hasher.part(b"whiteout"),
    }
}

/// Finds what the sources of `op` name, each in its own of `trees`. A source
/// whose tree is not there is passed over.
pub(super) fn select(
    op: &CopyOp,
    trees: &[Option<&dyn SourceTree>],
) -> Result<Selection, CopyError> {
    let sources = op.trees();
    let mut selection = Selection::default();
    for (number, pattern) in op.patterns.iter().enumerate() {
        let place = sources.iter().position(|tree| *tree == pattern.source);
        let Some((place, tree)) = place.and_then(|at| Some((at, (*trees.get(at)?)?))) else {
            continue;
        };
        let bad_pattern = |_| CopyError::BadPattern {
            pattern: pattern.text.clone(),
            span: pattern.span,
        };
        let exclude = Filter::new(&op.exclude).map_err(bad_pattern)?;
        let found = if op.parents {
            let (root, below) = pivot(&pattern.text);
            let below = clean(below).join("/");
            require(pattern, tree, root, &below)?;
            let filter = exclude.only(below).map_err(bad_pattern)?;
            find(pattern, tree, root, &filter)?
        } else {
            find(pattern, tree, &pattern.text, &exclude)?
        };
        let named = |(name, entry, taken): Named| Selected {
            tree: place,
            pattern: number,
            name,
            entry,
            beneath: taken.entries,
            passed: taken.passed,
        };
        selection.items.extend(found.into_iter().map(named));
    }
    Ok(selection)
}

/// A source of `--parents` in two: the directory that is not kept, and the rest.
fn pivot(text: &str) -> (&str, &str) {
    text.split_once("/./").unwrap_or(("", text))
}

/// Refuses a source of `--parents` that is missing, unless it has a wildcard.
fn require(
    pattern: &CopyPattern,
    tree: &dyn SourceTree,
    root: &str,
    below: &str,
) -> Result<(), CopyError> {
    let text = format!("{root}/{below}");
    let parts = clean(&text);
    let is_pattern = parts.iter().any(|part| glob::is_pattern(part));
    let path: PathBuf = parts.iter().collect();
    if is_pattern || tree.entry(&tree.resolve(&path)?)?.is_some() {
        return Ok(());
    }
    Err(CopyError::NotFound {
        path: format!("/{}", path.display()),
        span: pattern.span,
    })
}

/// What the source `text` names in `tree`.
fn find(
    pattern: &CopyPattern,
    tree: &dyn SourceTree,
    text: &str,
    filter: &Filter,
) -> Result<Vec<Named>, CopyError> {
    let parts = clean(text);
    if !pattern.literal && parts.iter().any(|part| glob::is_pattern(part)) {
        let mut paths = Vec::new();
        expand(pattern, tree, &parts, PathBuf::new(), &mut paths)?;
        let mut found = Vec::new();
        for path in paths {
            // A link that leads nowhere is no match.
            let named = take(tree, &path, filter)?;
            // What a wildcard finds is left out by its name; what is named itself is meant.
            let is_file = |named: &Named| !matches!(named.1.kind, EntryKind::Directory { .. });
            let name = base_name(&path);
            found.extend(
                named.filter(|named| !(is_file(named) && filter.excludes(Path::new(&name)))),
            );
        }
        return Ok(found);
    }
    let path: PathBuf = parts.iter().collect();
    let named = take(tree, &path, filter)?.ok_or_else(|| CopyError::NotFound {
        path: format!("/{}", path.display()),
        span: pattern.span,
    })?;
    Ok(vec![named])
}

/// Name, entry, and what is taken beneath it.
type Named = (OsString, Entry, Taken);

/// The file or directory at `path`, links in it followed.
pub(super) fn take(
    tree: &dyn SourceTree,
    path: &Path,
    filter: &Filter,
) -> Result<Option<Named>, CopyError> {
    let real = tree.resolve(path)?;
    let Some(entry) = tree.entry(&real)? else {
        return Ok(None);
    };
    let taken = match entry.kind {
        EntryKind::Directory { .. } => filter.walk(tree, &real)?,
        _ => Taken::default(),
    };
    if taken.entries.is_empty() && tree.is_ignored(&real) {
        // An ignored directory is there only for what an exception brings back.
        return Ok(None);
    }
    Ok(Some((base_name(path), entry, taken)))
}

/// Matches `parts` from `dir` on; found paths in order, links not followed.
fn expand(
    pattern: &CopyPattern,
    tree: &dyn SourceTree,
    parts: &[&str],
    dir: PathBuf,
    found: &mut Vec<PathBuf>,
) -> Result<(), CopyError> {
    let Some((first, rest)) = parts.split_first() else {
        found.push(dir);
        return Ok(());
    };
    let real = tree.resolve(&dir)?;
    let is_dir = match tree.entry(&real)? {
        Some(entry) => matches!(entry.kind, EntryKind::Directory { .. }),
        None => dir.as_os_str().is_empty(),
    };
    if !is_dir {
        return Ok(());
    }
    if !glob::is_pattern(first) {
        let child = dir.join(first);
        if tree.entry(&real.join(first))?.is_none() {
            return Ok(());
        }
        return expand(pattern, tree, rest, child, found);
    }
    for name in tree.list(&real)? {
        let matched =
            glob::matches(first, &name.to_string_lossy()).map_err(|glob::BadPattern| {
                CopyError::BadPattern {
                    pattern: pattern.text.clone(),
                    span: pattern.span,
                }
            })?;
        if matched {
            expand(pattern, tree, rest, dir.join(&name), found)?;
        }
    }
    Ok(())
}
