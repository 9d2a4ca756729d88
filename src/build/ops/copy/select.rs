//! Which files COPY takes: sources to entries, links followed, wildcards matched.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::source::{SourceTree, base_name, clean};
use super::{CopyError, glob};
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
            hash_item(&mut hasher, &item.entry, &item.beneath);
        }
        hasher.finish()
    }
}

/// The digest of one file or directory, its name aside. Digests of contents must be known.
pub(super) fn digest_of((_, entry, beneath): &Named) -> Digest {
    let mut hasher = Hasher::new();
    hash_item(&mut hasher, entry, beneath);
    hasher.finish()
}

fn hash_item(hasher: &mut Hasher, entry: &Entry, beneath: &[Entry]) {
    hash_entry(hasher, Path::new(""), entry, &entry.path);
    for inner in beneath {
        let relative = inner.path.strip_prefix(&entry.path).unwrap_or(&inner.path);
        hash_entry(hasher, relative, inner, &entry.path);
    }
}

fn hash_entry(hasher: &mut Hasher, path: &Path, entry: &Entry, root: &Path) {
    hasher.part(path.as_os_str().as_bytes());
    let numbers = [entry.mode, entry.uid, entry.gid];
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
        let named = |(name, entry, beneath)| Selected {
            tree: place,
            pattern: number,
            name,
            entry,
            beneath,
        };
        let parts = clean(&pattern.text);
        if !pattern.literal && parts.iter().any(|part| glob::is_pattern(part)) {
            let mut found = Vec::new();
            expand(pattern, tree, &parts, PathBuf::new(), &mut found)?;
            for path in found {
                // A link that leads nowhere is no match.
                selection.items.extend(take(tree, &path)?.map(named));
            }
            continue;
        }
        let path: PathBuf = parts.iter().collect();
        let item = take(tree, &path)?.ok_or_else(|| CopyError::NotFound {
            path: format!("/{}", path.display()),
            span: pattern.span,
        })?;
        selection.items.push(named(item));
    }
    Ok(selection)
}

/// Name, entry, and the entries beneath it.
type Named = (OsString, Entry, Vec<Entry>);

/// The file or directory at `path`, links in it followed.
pub(super) fn take(tree: &dyn SourceTree, path: &Path) -> Result<Option<Named>, CopyError> {
    let real = tree.resolve(path)?;
    let Some(entry) = tree.entry(&real)? else {
        return Ok(None);
    };
    let beneath = match entry.kind {
        EntryKind::Directory { .. } => tree.walk(&real)?,
        _ => Vec::new(),
    };
    if beneath.is_empty() && tree.is_ignored(&real) {
        // An ignored directory is there only for what an exception brings back.
        return Ok(None);
    }
    Ok(Some((base_name(path), entry, beneath)))
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
