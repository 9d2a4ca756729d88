//! Several layers of a stack as one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::times::{RewriteError, finish, rewrite};
use super::{View, layer_dir};
use crate::fs::{At as _, PathError, Root};
use crate::layer::{Entry, EntryKind, Lower, walk_tree};
use crate::store::{SnapshotId, Store};

/// One layer that shows over `base` what `layers` (bottom first) show together.
/// The result is pinned.
pub fn squash(
    store: &Store,
    base: Option<SnapshotId>,
    layers: &[SnapshotId],
) -> Result<SnapshotId, RewriteError> {
    let dirs: Vec<PathBuf> = layers.iter().map(|id| layer_dir(store, *id)).collect();
    let merged = merge(&dirs)?;
    let below = View::open(store, base)?;
    let roots = dirs.iter().map(|dir| Root::open(dir));
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    let rewritten = rewrite(store, base, &mut |packer| {
        // The first name of a file is the file, the others are links to it.
        let mut files: HashMap<Origin, PathBuf> = HashMap::new();
        for (path, (mut entry, origin)) in merged.clone() {
            if entry.kind == EntryKind::Whiteout && below.entry(&path)?.is_none() {
                continue;
            }
            let mut content: Option<File> = None;
            if let EntryKind::File { .. } = entry.kind {
                if let Some(first) = files.get(&origin) {
                    entry.kind = EntryKind::HardLink(first.clone());
                } else {
                    content = Some(roots[origin.0].open_file(&origin.1)?);
                    files.insert(origin, path.clone());
                }
            }
            let added = match content {
                Some(mut file) => packer.entry(&entry, &mut file),
                None => packer.entry(&entry, &mut io::empty()),
            };
            added.at("pack", &path)?;
        }
        Ok(())
    })?;
    Ok(finish(rewritten)?)
}

/// Where a file's bytes lie: which layer, and its first path there.
type Origin = (usize, PathBuf);

/// Entries by path. Component-wise comparison of paths is the order of a tar.
type Merged = BTreeMap<PathBuf, (Entry, Origin)>;

/// What the layers say together, later ones over earlier ones.
fn merge(dirs: &[PathBuf]) -> Result<Merged, PathError> {
    let mut merged = Merged::new();
    for (layer, dir) in dirs.iter().enumerate() {
        let mut firsts: HashMap<PathBuf, Entry> = HashMap::new();
        walk_tree(dir, &mut |entry, file| {
            let mut entry = entry.clone();
            let mut origin = (layer, entry.path.clone());
            match &entry.kind {
                EntryKind::HardLink(first) => {
                    // It has its file's attributes, which stand with the first name.
                    if let Some(file) = firsts.get(first) {
                        origin.1.clone_from(first);
                        let path = std::mem::take(&mut entry.path);
                        entry = Entry {
                            path,
                            ..file.clone()
                        };
                    }
                }
                EntryKind::File { .. } if file.is_some() => {
                    firsts.insert(entry.path.clone(), entry.clone());
                }
                _ => {}
            }
            put(&mut merged, entry, origin);
            Ok::<(), PathError>(())
        })?;
    }
    Ok(merged)
}

/// Puts an entry of a higher layer over what lower ones have there.
fn put(merged: &mut Merged, mut entry: Entry, origin: Origin) {
    let path = entry.path.clone();
    let there = merged.get(&path).map(|(entry, _)| entry.kind.clone());
    if let EntryKind::Directory { opaque } = &mut entry.kind {
        if *opaque {
            clear_below(merged, &path);
        }
        *opaque |= match there {
            Some(EntryKind::Directory { opaque }) => opaque,
            // A directory in place of something else hides what lies beneath it.
            Some(_) => true,
            None => false,
        };
    } else {
        clear_below(merged, &path);
    }
    merged.insert(path, (entry, origin));
}

/// Takes out everything beneath `path`.
fn clear_below(merged: &mut Merged, path: &Path) {
    let below = merged
        .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
        .map(|(at, _)| at)
        .take_while(|at| at.starts_with(path));
    let below: Vec<PathBuf> = below.cloned().collect();
    for gone in below {
        merged.remove(&gone);
    }
}
