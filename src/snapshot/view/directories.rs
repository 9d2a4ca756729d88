//! The directories of a merged tree: which layers take part in each.
//!
//! A layer is committed and never changes, so what was found stays true. Names
//! are looked up one component at a time below descriptors, links are never
//! followed, so no layer's content can lead outside of its directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::fs::{At, PathError};
use crate::snapshot::attributes;

/// Most directory descriptors held open by one view: far below the usual soft
/// limit of 1,024 for a process, which several views share.
const HELD_LIMIT: usize = 192;
/// Most directories remembered by one view.
const KNOWN_LIMIT: usize = 4_096;

/// Every directory of a stack of layers, found as needed.
#[derive(Debug)]
pub(super) struct Directories {
    layers: Vec<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// `None` for a path that is no directory of the merged tree.
    merged: HashMap<PathBuf, Option<Arc<Merged>>>,
    held: usize,
}

/// One merged directory.
pub(super) struct Merged {
    path: PathBuf,
    /// The layers that take part, top first.
    parts: Vec<Part>,
}

struct Part {
    layer: usize,
    /// Absent when too many are open already.
    fd: Option<OwnedFd>,
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.parts.iter().map(|part| part.layer);
        f.debug_list().entries(layers).finish()
    }
}

/// A directory's descriptor, held or opened for the moment.
pub(super) enum Handle<'a> {
    Held(BorrowedFd<'a>),
    Fresh(OwnedFd),
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(fd) => *fd,
            Self::Fresh(fd) => fd.as_fd(),
        }
    }
}

/// An entry of the merged tree, in the topmost layer that has it.
pub(super) struct Found {
    /// Which layer, 0 at the top.
    pub(super) layer: usize,
    /// What it is there.
    pub(super) stat: Statx,
    directory: Arc<Merged>,
    part: usize,
}

impl Found {
    pub(super) fn file_type(&self) -> FileType {
        file_type(&self.stat)
    }
}

impl Directories {
    pub(super) fn new(layers: Vec<PathBuf>) -> Self {
        Self {
            layers,
            known: Mutex::default(),
        }
    }

    pub(super) fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// The entry `name` of the directory `parent`; `None` when there is none.
    pub(super) fn find(&self, parent: &Path, name: &OsStr) -> Result<Option<Found>, PathError> {
        let Some(directory) = self.directory(parent)? else {
            return Ok(None);
        };
        for (part, Part { layer, .. }) in directory.parts.iter().enumerate() {
            let handle = self.handle(&directory, part)?;
            let Some(stat) = look(&handle, name).at("read", self.disk(*layer, parent, name))?
            else {
                continue;
            };
            if is_whiteout(&stat) {
                return Ok(None);
            }
            let layer = *layer;
            return Ok(Some(Found {
                layer,
                stat,
                directory,
                part,
            }));
        }
        Ok(None)
    }

    /// The descriptor of the directory that holds `found`.
    pub(super) fn holder<'a>(&self, found: &'a Found) -> Result<Handle<'a>, PathError> {
        self.handle(&found.directory, found.part)
    }

    /// The layers that take part in the directory `path`, top first, each with its
    /// descriptor; `None` when it is no directory.
    pub(super) fn directory(&self, path: &Path) -> Result<Option<Arc<Merged>>, PathError> {
        // The deepest ancestor that is known, then down from there: never a
        // recursion, as paths from outside may be deep.
        let mut below = Vec::new();
        let mut at = path;
        let mut current = loop {
            if let Some(known) = self.known().merged.get(at) {
                break known.clone();
            }
            let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
                break Some(self.root()?);
            };
            below.push((at, name));
            at = parent;
        };
        while let Some((path, name)) = below.pop() {
            current = match current {
                Some(parent) => self.descend(&parent, path, name)?,
                None => None,
            };
            self.remember(path, current.as_ref());
        }
        Ok(current)
    }

    /// How many layers take part in a directory.
    pub(super) fn parts(directory: &Merged) -> std::ops::Range<usize> {
        0..directory.parts.len()
    }

    /// The descriptor of `directory` in its `part`-th layer.
    pub(super) fn handle<'a>(
        &self,
        directory: &'a Merged,
        part: usize,
    ) -> Result<Handle<'a>, PathError> {
        let Part { layer, fd } = &directory.parts[part];
        if let Some(fd) = fd {
            return Ok(Handle::Held(fd.as_fd()));
        }
        let root = open_root(&self.layers[*layer])?;
        if directory.path.as_os_str().is_empty() {
            return Ok(Handle::Fresh(root));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&root, &directory.path, flags, Mode::empty(), resolve)
            .map(Handle::Fresh)
            .at("open", self.layers[*layer].join(&directory.path))
    }

    /// Which directories `path` is on disk, for messages.
    pub(super) fn disk(&self, layer: usize, parent: &Path, name: &OsStr) -> PathBuf {
        self.layers[layer].join(parent).join(name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is a single insertion or a clearing, so a panic elsewhere
        // cannot have left it half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> Result<Arc<Merged>, PathError> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for (layer, path) in self.layers.iter().enumerate() {
            let fd = (layer < HELD_LIMIT / 2)
                .then(|| open_root(path))
                .transpose()?;
            parts.push(Part { layer, fd });
        }
        let root = Arc::new(Merged {
            path: PathBuf::new(),
            parts,
        });
        self.remember(Path::new(""), Some(&root));
        Ok(root)
    }

    fn descend(
        &self,
        parent: &Merged,
        path: &Path,
        name: &OsStr,
    ) -> Result<Option<Arc<Merged>>, PathError> {
        let mut parts = Vec::new();
        let mut room = HELD_LIMIT.saturating_sub(self.known().held);
        if room < parent.parts.len() {
            self.forget();
            room = HELD_LIMIT.saturating_sub(self.known().held);
        }
        for (part, Part { layer, .. }) in parent.parts.iter().enumerate() {
            let shown = || self.layers[*layer].join(path);
            let handle = self.handle(parent, part)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(&handle, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                // A whiteout, or something else that hides what lies beneath.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(err) => return Err(err).at("open", shown()),
            };
            let opaque = attributes::is_opaque(&fd).at("read the attributes of", shown())?;
            parts.push(Part {
                layer: *layer,
                fd: (parts.len() < room).then_some(fd),
            });
            if opaque {
                break;
            }
        }
        let path = path.to_owned();
        Ok((!parts.is_empty()).then(|| Arc::new(Merged { path, parts })))
    }

    fn remember(&self, path: &Path, merged: Option<&Arc<Merged>>) {
        let full = self.known().merged.len() >= KNOWN_LIMIT;
        if full {
            self.forget();
        }
        let mut known = self.known();
        known.held += merged.map_or(0, |merged| merged.held());
        let before = known.merged.insert(path.to_owned(), merged.cloned());
        // Two threads may have found the same directory at once.
        known.held -= before.flatten().map_or(0, |merged| merged.held());
    }

    /// Forgets everything but the root.
    fn forget(&self) {
        let mut known = self.known();
        known.merged.retain(|path, _| path.as_os_str().is_empty());
        known.held = known.merged.values().flatten().map(|m| m.held()).sum();
    }
}

impl Merged {
    fn held(&self) -> usize {
        self.parts.iter().filter(|part| part.fd.is_some()).count()
    }

    /// Which layer the `part`-th one is.
    pub(super) fn layer(&self, part: usize) -> usize {
        self.parts[part].layer
    }
}

/// The path with only plain names: no leading slash, no `.`.
///
/// # Errors
/// `..` has no meaning in a tree whose links are not followed.
pub(super) fn plain(path: &Path) -> Result<PathBuf, PathError> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Errno::INVAL).at("look up", path);
            }
        }
    }
    Ok(plain)
}

/// What `name` is in the directory; `None` when it is not there.
pub(super) fn look(directory: impl AsFd, name: &OsStr) -> Result<Option<Statx>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Whether this is overlayfs' mark for a removed entry.
///
/// Source: Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
pub(super) fn is_whiteout(stat: &Statx) -> bool {
    file_type(stat) == FileType::CharacterDevice
        && stat.stx_rdev_major == 0
        && stat.stx_rdev_minor == 0
}

pub(super) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

fn open_root(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}
