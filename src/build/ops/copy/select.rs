//! Which files COPY takes: sources to entries, links followed, wildcards matched.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::source::{SourceTree, base_name, clean};
use super::{CopyError, glob};
use crate::build::graph::{CopyOp, CopyPattern};
use crate::layer::{Entry, EntryKind};
use crate::oci::{Digest, Hasher};

/// Everything that one source names.
#[derive(Debug, Clone)]
pub(super) struct Selected {
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
    /// Every entry.
    pub(super) fn entries_mut(&mut self) -> Vec<&mut Entry> {
        let mut entries = Vec::new();
        for item in &mut self.items {
            entries.push(&mut item.entry);
            entries.extend(item.beneath.iter_mut());
        }
        entries
    }

    /// The digest of all that enters the cache key: names, kinds, modes, owners,
    /// xattrs, link targets and contents; no times. Every digest must be known.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for item in &self.items {
            hasher.part(b"item");
            hasher.part(item.name.as_bytes());
            hash_entry(&mut hasher, Path::new(""), &item.entry, &item.entry.path);
            for entry in &item.beneath {
                let relative = entry
                    .path
                    .strip_prefix(&item.entry.path)
                    .unwrap_or(&entry.path);
                hash_entry(&mut hasher, relative, entry, &item.entry.path);
            }
        }
        hasher.finish()
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

/// Finds what the sources of `op` name in `tree`.
pub(super) fn select(op: &CopyOp, tree: &dyn SourceTree) -> Result<Selection, CopyError> {
    let mut selection = Selection::default();
    for pattern in &op.patterns {
        let parts = clean(&pattern.text);
        if !pattern.literal && parts.iter().any(|part| glob::is_pattern(part)) {
            let mut found = Vec::new();
            expand(pattern, tree, &parts, PathBuf::new(), &mut found)?;
            for path in found {
                // A link that leads nowhere is no match.
                selection.items.extend(take(tree, &path)?);
            }
            continue;
        }
        let path: PathBuf = parts.iter().collect();
        let item = take(tree, &path)?.ok_or_else(|| CopyError::NotFound {
            path: format!("/{}", path.display()),
            span: pattern.span,
        })?;
        selection.items.push(item);
    }
    Ok(selection)
}

/// The file or directory at `path`, links in it followed.
pub(super) fn take(tree: &dyn SourceTree, path: &Path) -> Result<Option<Selected>, CopyError> {
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
    Ok(Some(Selected {
        name: base_name(path),
        entry,
        beneath,
    }))
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
