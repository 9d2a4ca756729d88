//! Mount points that the tree lacks.
//!
//! They are offered by a lowest layer of the step's own, so that making them writes
//! nothing: the step's layer has no trace of them. Where something in the tree hides
//! that layer (an opaque directory, a removed one) the sandbox makes them in the
//! step's layer, and they are taken away again afterwards if they are still empty.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::fs::{At, PathError, Root};
use crate::snapshot::View;

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// For a directory.
    Directory,
    /// For anything else.
    File,
}

/// The mount points of one step.
#[derive(Debug, Default)]
pub(super) struct Points {
    /// What the sandbox will make, from the root; outer directories first.
    made: Vec<(PathBuf, Kind)>,
    /// Targets so far, without links.
    targets: Vec<PathBuf>,
}

impl Points {
    /// Makes sure that there will be a mount point at `target`: in the tree, or in
    /// the directory `stubs`. `tree` has the layers of the tree. Returns where it is
    /// when all links are followed, relative to the root.
    pub(super) fn add(
        &mut self,
        tree: &View,
        stubs: &Path,
        target: &str,
        kind: Kind,
    ) -> Result<PathBuf, PathError> {
        let place = tree.resolve(Path::new(target.trim_start_matches('/')), true)?;
        // What the sandbox mounts itself has its own way, and what lies in another
        // mount of the step is made there.
        let fresh = ["dev", "proc", "sys"]
            .iter()
            .any(|dir| place.starts_with(dir));
        let covered = self.targets.iter().any(|outer| place.starts_with(outer));
        self.targets.push(place.clone());
        if fresh || covered || tree.kind(&place)?.is_some() {
            return Ok(place);
        }
        make(stubs, &place, kind)?;
        let mut layers = tree.layers().to_vec();
        layers.push(stubs.to_owned());
        let merged = View::of_layers(layers);
        let mut above = PathBuf::new();
        let count = place.components().count();
        for (number, part) in place.components().enumerate() {
            above.push(part);
            let kind = if number + 1 == count {
                kind
            } else {
                Kind::Directory
            };
            let known = self.made.iter().any(|(path, _)| *path == above);
            if !known && merged.kind(&above)?.is_none() {
                self.made.push((above.clone(), kind));
            }
        }
        Ok(place)
    }

    /// Takes away what the sandbox made in `layer` and what is still empty. What
    /// cannot be taken away stays: it is an empty directory or file.
    pub(super) fn clean(&self, layer: &Path) -> Result<(), PathError> {
        if self.made.is_empty() {
            return Ok(());
        }
        let root = Root::open(layer)?;
        for (path, kind) in self.made.iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            // The step may have put anything else in its place.
            let Ok(parent) = root.open_at(parent, flags, Mode::empty()) else {
                continue;
            };
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            let _in_use = match kind {
                Kind::Directory => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR),
                Kind::File => rustix::fs::statat(&parent, name, nofollow).and_then(|stat| {
                    let file = rustix::fs::FileType::from_raw_mode(stat.st_mode);
                    if file == rustix::fs::FileType::RegularFile && stat.st_size == 0 {
                        rustix::fs::unlinkat(&parent, name, AtFlags::empty())
                    } else {
                        Ok(())
                    }
                }),
            };
        }
        Ok(())
    }
}

/// Makes `place` beneath `stubs`, a directory of our own without links.
fn make(stubs: &Path, place: &Path, kind: Kind) -> Result<(), PathError> {
    let path = stubs.join(place);
    let dir = match kind {
        Kind::Directory => path.as_path(),
        Kind::File => path.parent().unwrap_or(stubs),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .at("create", dir)?;
    let mut above = stubs.to_owned();
    for part in dir
        .strip_prefix(stubs)
        .unwrap_or(Path::new(""))
        .components()
    {
        above.push(part);
        std::fs::set_permissions(&above, std::fs::Permissions::from_mode(0o755))
            .at("set the mode of", &above)?;
    }
    if kind == Kind::File {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .at("create", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_made_only_where_the_tree_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let (layer, stubs) = (dir.path().join("layer"), dir.path().join("stubs"));
        std::fs::create_dir_all(layer.join("there/dir")).unwrap();
        std::os::unix::fs::symlink("/there", layer.join("link")).unwrap();
        std::fs::create_dir(&stubs).unwrap();
        let tree = View::of_layers(vec![layer.clone()]);
        let mut points = Points::default();
        let mut add = |target: &str, kind| points.add(&tree, &stubs, target, kind).unwrap();
        assert_eq!(add("/there/dir", Kind::Directory), Path::new("there/dir"));
        assert!(!stubs.join("there").exists());
        assert_eq!(add("/link/new/f", Kind::File), Path::new("there/new/f"));
        assert!(stubs.join("there/new/f").is_file());
        // In another mount.
        add("/there/dir/inner", Kind::Directory);
        assert!(!stubs.join("there/dir").exists());
        assert!(points.made.is_empty(), "all are seen: {points:?}");
    }

    #[test]
    fn what_the_sandbox_had_to_make_is_taken_away_while_empty() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layer");
        std::fs::create_dir_all(layer.join("a/b")).unwrap();
        std::fs::write(layer.join("a/b/f"), "").unwrap();
        std::fs::write(layer.join("a/full"), "x").unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(outside.join("kept")).unwrap();
        std::os::unix::fs::symlink(&outside, layer.join("link")).unwrap();
        let path = |text: &str, kind| (PathBuf::from(text), kind);
        let points = Points {
            made: vec![
                path("a", Kind::Directory),
                path("a/b", Kind::Directory),
                path("a/b/f", Kind::File),
                path("a/full", Kind::File),
                path("link/kept", Kind::Directory),
            ],
            targets: Vec::new(),
        };
        points.clean(&layer).unwrap();
        assert!(!layer.join("a/b").exists());
        assert!(layer.join("a/full").exists());
        assert!(outside.join("kept").exists());
    }
}
