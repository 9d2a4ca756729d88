//! Times of a layer that must not say when it was made.
//!
//! [`clamp_times`] makes every time of a layer that is still being written no
//! later than a moment. [`Times`] remembers beside the layer what was done, so
//! that [`retime`] can make the same layer for another moment without running
//! again what made it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Active, Error, View, layer_dir, pipe, tree_bytes};
use crate::fs::{At as _, Descent, PathError};
use crate::layer::{Limits, PackOptions, Packer, UnpackError, UnpackOptions, unpack, walk_tree};
use crate::store::{SnapshotId, Store};

/// The name beside a layer's content under which its [`Times`] lie.
const FILE: &str = "times";

/// What was done to the times of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The latest time that anything has, in seconds since 1970.
    pub latest: i64,
    /// Whether everything that had a later time was written by the step itself,
    /// so that it would have any other moment's time as well.
    pub fresh: bool,
}

impl Times {
    /// Keeps them beside the layer.
    pub fn save(self, active: &Active<'_>) -> Result<(), PathError> {
        let path = active.dir().join(FILE);
        let text = format!("{} {}\n", self.latest, u8::from(self.fresh));
        std::fs::write(&path, text).at("write", &path)
    }

    /// Those of a committed layer; `None` when nothing was done to it.
    fn load(store: &Store, id: SnapshotId) -> Option<Self> {
        let path = layer_dir(store, id).parent()?.join(FILE);
        let text = std::fs::read_to_string(path).ok()?;
        let (latest, fresh) = text.trim().split_once(' ')?;
        Some(Self {
            latest: latest.parse().ok()?,
            fresh: fresh == "1",
        })
    }
}

/// Makes `latest` the time of everything in the layer directory `dir` that is
/// younger. `began` is the moment from which on what was written is the step's
/// own work; both in seconds since 1970. Nothing may be mounted on `dir`.
pub fn clamp_times(dir: &Path, latest: i64, began: i64) -> Result<Times, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty()).at("open", dir)?;
    let fresh = clamp(root, latest, began).at("set times in", dir)?;
    Ok(Times { latest, fresh })
}

fn clamp(root: OwnedFd, latest: i64, began: i64) -> io::Result<bool> {
    let mut descent = Descent::new(root);
    let mut fresh = true;
    // The directories that are still to be entered, one list a level.
    let mut waiting: Vec<Vec<CString>> = Vec::new();
    loop {
        let mut names = Vec::new();
        descent.names(&mut |name, _| names.push(name.to_owned()))?;
        let mut directories = Vec::new();
        for name in names {
            let (kind, younger) = clamp_one(&descent, &name, latest)?;
            fresh &= younger.is_none_or(|mtime| mtime >= began);
            if kind == FileType::Directory {
                directories.push(name);
            }
        }
        waiting.push(directories);
        loop {
            let Some(directories) = waiting.last_mut() else {
                return Ok(fresh);
            };
            if let Some(name) = directories.pop() {
                descent.enter(&name)?;
                break;
            }
            waiting.pop();
            descent.leave()?;
        }
    }
}

/// What `name` is, and the time that it had if that was too late.
fn clamp_one(descent: &Descent, name: &CStr, latest: i64) -> io::Result<(FileType, Option<i64>)> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statat(descent.dir(), name, flags)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
    if stat.st_mtime <= latest || is_whiteout {
        return Ok((kind, None));
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: latest,
            tv_nsec: 0,
        },
    };
    rustix::fs::utimensat(descent.dir(), name, &times, flags)?;
    Ok((kind, Some(stat.st_mtime)))
}

/// Why a layer cannot be written again.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// What was packed cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] Error),
    /// The disk refused.
    #[error(transparent)]
    File(#[from] PathError),
}

/// The layer `source`, whose times were clamped to one moment, as it would be
/// with `latest`, on `parent`; `None` when that cannot be known.
pub fn retime(
    store: &Store,
    source: SnapshotId,
    parent: Option<SnapshotId>,
    latest: i64,
) -> Result<Option<SnapshotId>, RewriteError> {
    let Some(old) = Times::load(store, source) else {
        return Ok(None);
    };
    if !old.fresh && latest > old.latest {
        // Something may have had a time of its own in between.
        return Ok(None);
    }
    let moved = |mtime: i64| match mtime {
        mtime if old.fresh && mtime == old.latest => latest,
        mtime => mtime.min(latest),
    };
    let dir = layer_dir(store, source);
    let active = rewrite(store, parent, &mut |packer| {
        walk_tree(&dir, &mut |entry, file| {
            let mut entry = entry.clone();
            entry.mtime = moved(entry.mtime);
            let added = match file {
                Some(mut file) => packer.entry(&entry, &mut file),
                None => packer.entry(&entry, &mut io::empty()),
            };
            added.at("pack", dir.join(&entry.path))
        })
    })?;
    Times {
        latest,
        fresh: old.fresh,
    }
    .save(&active.0)?;
    Ok(Some(finish(active)?))
}

/// A layer in the making, with its diff ID and the length of its tar.
pub(super) type Rewritten<'a> = (Active<'a>, (crate::oci::DiffId, u64));

/// Writes what `fill` packs as a new layer on `parent`.
pub(super) fn rewrite<'a>(
    store: &'a Store,
    parent: Option<SnapshotId>,
    fill: &mut (
             dyn FnMut(&mut Packer<&mut super::pipe::PipeWriter>) -> Result<(), PathError> + Send
         ),
) -> Result<Rewritten<'a>, RewriteError> {
    let active = Active::begin(store, parent)?;
    let lower = View::open(store, parent)?;
    let options = UnpackOptions {
        limits: Limits {
            entries: u64::MAX,
            bytes: u64::MAX,
            depth: usize::MAX,
        },
        whiteouts: true,
    };
    let (mut writer, mut reader) = pipe();
    let unpacked = std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut packer = Packer::new(&mut writer, PackOptions::default());
            let filled = fill(&mut packer);
            let ended = filled.and_then(|()| {
                let finished = packer.finish().map(drop);
                finished.at("pack", PathBuf::new())
            });
            if let Err(err) = &ended {
                writer.fail(io::Error::other(err.to_string()));
            }
            ended
        });
        let unpacked = unpack(&mut reader, &active.fs(), &lower, options);
        drop(reader);
        // What was packed badly is the reason that it could not be unpacked.
        match packing.join() {
            Ok(Err(err)) if unpacked.is_err() => Err(RewriteError::File(err)),
            _ => Ok(unpacked?),
        }
    })?;
    Ok((active, (unpacked.diff_id, unpacked.size)))
}

/// Commits a rewritten layer and pins it.
pub(super) fn finish((active, diff): Rewritten<'_>) -> Result<SnapshotId, Error> {
    let store = active.store();
    let bytes = tree_bytes(&active.fs())?;
    let row = active.commit(bytes, Some(diff), None)?;
    store.pin(row.id)?;
    Ok(row.id)
}
