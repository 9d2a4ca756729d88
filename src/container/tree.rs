//! A container's file system from outside, whether it runs or not.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::dir::Dir;
use super::shim::user_mounts;
use super::{Error, bundle, find};
use crate::fs::Lock;
use crate::sandbox::{Inside, Mount, Overlay, Place, RootFs};
use crate::snapshot;
use crate::store::Store;

/// How long somebody else may look into a resting container first.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Where a container's files are.
#[derive(Debug)]
pub(super) enum Tree {
    /// In the mounts of its first process.
    Running(i32),
    /// In layers that are mounted for the look. The lock keeps the container from
    /// being started meanwhile: overlayfs allows one mount of a layer.
    Resting {
        root: RootFs,
        mounts: Vec<Mount>,
        _lock: Lock,
    },
}

impl Tree {
    /// Finds the files of the container `text`.
    pub(super) fn of(store: &Store, text: &str, place: Place) -> Result<Self, Error> {
        let row = find(store, text)?;
        let dir = Dir::new(store.paths(), &row.id);
        let until = Instant::now() + PATIENCE;
        let lock = loop {
            let state = dir.state()?;
            if state.has_process() {
                return Ok(Self::Running(state.pid));
            }
            match dir.try_lock()? {
                Some(lock) => break lock,
                None if Instant::now() < until => std::thread::sleep(PAUSE),
                None => return Err(Error::Busy(row.id)),
            }
        };
        let mut lower = snapshot::layer_dirs(store, row.snapshot)?;
        lower.push(store.paths().stubs());
        let record = dir.record()?;
        let mut mounts = Vec::new();
        if place == Place::Everything {
            mounts = user_mounts(&dir, &record, store.paths())?;
            mounts = bundle::in_order(mounts);
        }
        let root = RootFs {
            mountpoint: store.paths().mnt(),
            overlay: Overlay {
                lower,
                upper: dir.path("fs"),
                work: dir.path("work"),
                volatile: false,
            },
        };
        Ok(Self::Resting {
            root,
            mounts,
            _lock: lock,
        })
    }

    /// Calls `work` with the open root, in a thread that has it as its own root.
    pub(super) fn visit<T: Send>(
        &self,
        place: Place,
        work: impl FnOnce(OwnedFd) -> T + Send,
    ) -> Result<T, Error> {
        let inside = match self {
            Self::Running(pid) => Inside::Running(*pid),
            Self::Resting { root, mounts, .. } => Inside::Resting(root, mounts),
        };
        Ok(inside.visit(place, work)?)
    }
}
