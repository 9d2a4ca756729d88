//! How the files of two results of one instruction differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::build::ops::copy;
use crate::layer::{Entry, EntryKind, walk_tree};
use crate::snapshot::layer_dir;
use crate::store::{SnapshotId, Store};

/// Bytes compared at once.
const BUFFER: usize = 128 << 10;

/// One line for each file that is new, gone or changed, sorted by path; what lies
/// in a directory that is new or gone itself is not named. Nothing when a layer
/// cannot be read.
pub(super) fn differences(store: &Store, old: SnapshotId, new: SnapshotId) -> Vec<String> {
    match (Layer::read(store, old), Layer::read(store, new)) {
        (Some(old), Some(new)) => compare(&old, &new),
        _ => Vec::new(),
    }
}

/// The entries of one layer.
struct Layer {
    dir: PathBuf,
    entries: BTreeMap<PathBuf, Entry>,
    /// Digests of its files, where they were kept.
    known: Option<copy::FileDigests>,
}

impl Layer {
    fn read(store: &Store, id: SnapshotId) -> Option<Self> {
        let dir = layer_dir(store, id);
        let mut entries = BTreeMap::new();
        walk_tree(&dir, &mut |entry, _| {
            if !entry.path.as_os_str().is_empty() {
                entries.insert(entry.path.clone(), entry.clone());
            }
            Ok::<(), crate::fs::PathError>(())
        })
        .ok()?;
        let known = copy::file_digests(store, id);
        Some(Self {
            dir,
            entries,
            known,
        })
    }
}

fn compare(old: &Layer, new: &Layer) -> Vec<String> {
    let mut lines: BTreeMap<&Path, String> = BTreeMap::new();
    let covered = |entries: &BTreeMap<PathBuf, Entry>, path: &Path| {
        // Its directory is new or gone as well, and is named in its place.
        let parent = path.parent().unwrap_or(Path::new(""));
        !parent.as_os_str().is_empty() && !entries.contains_key(parent)
    };
    for (path, entry) in &new.entries {
        match old.entries.get(path) {
            Some(before) => {
                if let Some(how) = change((old, before), (new, entry)) {
                    lines.insert(path, format!("/{} {how}", path.display()));
                }
            }
            None if !covered(&old.entries, path) => {
                lines.insert(path, format!("/{} is new", path.display()));
            }
            None => {}
        }
    }
    for path in old.entries.keys() {
        if !new.entries.contains_key(path) && !covered(&new.entries, path) {
            lines.insert(path, format!("/{} is gone", path.display()));
        }
    }
    lines.into_values().collect()
}

/// How an entry differs; nothing when it is the same but for its times.
fn change(old: (&Layer, &Entry), new: (&Layer, &Entry)) -> Option<String> {
    let (before, now) = (old.1, new.1);
    let (was, is) = (kind(&before.kind), kind(&now.kind));
    if was != is {
        return Some(format!("is a {is} and was a {was}"));
    }
    if let (EntryKind::Symlink(was), EntryKind::Symlink(is)) = (&before.kind, &now.kind)
        && was != is
    {
        return Some(format!(
            "links to {} and did to {}",
            is.display(),
            was.display()
        ));
    }
    let is_file = matches!(now.kind, EntryKind::File { .. });
    if (is_file && !same_content(old, new)) || (!is_file && before.kind != now.kind) {
        return Some("changed".to_owned());
    }
    if before.mode != now.mode {
        let (was, is) = (before.mode, now.mode);
        return Some(format!("changed mode from {was:04o} to {is:04o}"));
    }
    if (before.uid, before.gid) != (now.uid, now.gid) {
        return Some(format!(
            "changed owner from {}:{} to {}:{}",
            before.uid, before.gid, now.uid, now.gid
        ));
    }
    (before.xattrs != now.xattrs).then(|| "changed extended attributes".to_owned())
}

fn kind(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } | EntryKind::HardLink(_) => "file",
        EntryKind::Directory { .. } => "directory",
        EntryKind::Symlink(_) => "symbolic link",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Fifo => "named pipe",
        EntryKind::Whiteout => "removal",
    }
}

fn same_content((old, before): (&Layer, &Entry), (new, now): (&Layer, &Entry)) -> bool {
    let size = |entry: &Entry| match entry.kind {
        EntryKind::File { size, .. } => Some(size),
        _ => None,
    };
    if size(before) != size(now) {
        return false;
    }
    let digest = |layer: &Layer, entry: &Entry| layer.known.as_ref()?.get(&entry.path).copied();
    if let (Some(before), Some(now)) = (digest(old, before), digest(new, now)) {
        return before == now;
    }
    let (before, now) = (old.dir.join(&before.path), new.dir.join(&now.path));
    // What cannot be read is not said to have changed.
    same_bytes(&before, &now).unwrap_or(true)
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        match b.read_exact(&mut right[..count]) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn layer(make: impl FnOnce(&Path)) -> (tempfile::TempDir, Layer) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let mut entries = BTreeMap::new();
        walk_tree(dir.path(), &mut |entry, _| {
            if !entry.path.as_os_str().is_empty() {
                entries.insert(entry.path.clone(), entry.clone());
            }
            Ok::<(), crate::fs::PathError>(())
        })
        .unwrap();
        let path = dir.path().to_owned();
        let layer = Layer {
            dir: path,
            entries,
            known: None,
        };
        (dir, layer)
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let write =
            |dir: &Path, name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        let (_old, old) = layer(|dir| {
            for name in ["same", "content", "mode", "gone", "kind"] {
                write(dir, name, "text");
            }
            symlink("a", dir.join("link")).unwrap();
            std::fs::create_dir(dir.join("lost")).unwrap();
            write(dir, "lost/file", "text");
        });
        let (_new, new) = layer(|dir| {
            write(dir, "same", "text");
            write(dir, "content", "TEXT");
            write(dir, "mode", "text");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(dir.join("mode"), mode).unwrap();
            std::fs::create_dir(dir.join("kind")).unwrap();
            symlink("b", dir.join("link")).unwrap();
            std::fs::create_dir(dir.join("dir")).unwrap();
            write(dir, "dir/file", "text");
        });
        assert_eq!(
            compare(&old, &new),
            [
                "/content changed",
                "/dir is new",
                "/gone is gone",
                "/kind is a directory and was a file",
                "/link links to b and did to a",
                "/lost is gone",
                "/mode changed mode from 0644 to 0755",
            ]
        );
        assert!(compare(&new, &new).is_empty());
    }
}
