//! Files and directories out of a step's tree into a directory of the host.
//!
//! The tree is hostile, and so may be what already lies in the directory: each
//! name is opened in its directory's descriptor, links are never followed, and
//! what stands in the way of a file is removed, not written through. Devices,
//! pipes and sockets stay where they are; nothing keeps a set-user-ID bit.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::{BringOut, Brought};
use crate::build::ops::copy::glob;
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind, Lower};
use crate::snapshot::View;

/// Deepest directory that is brought out: each level holds a descriptor, and
/// 1,024 of them is a usual limit.
const DEPTH_LIMIT: usize = 500;
/// Permissions that are taken along.
const PERMISSIONS: u32 = 0o777;

/// Why something could not be brought out.
#[derive(Debug, thiserror::Error)]
pub(super) enum BringError {
    /// There is nothing of that name.
    #[error("the failed step's tree has nothing there")]
    Nothing,
    /// The path's wildcards are malformed.
    #[error("syntax error in pattern")]
    Pattern,
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

/// Brings out what `wish` names; a directory as a whole, beneath its own name.
pub(super) fn out(view: &View, cwd: &str, wish: &BringOut) -> Result<Vec<Brought>, BringError> {
    let whole = Path::new("/").join(cwd).join(&wish.path);
    let whole = whole.to_string_lossy();
    let mut found = Vec::new();
    find(view, &parts(&whole), PathBuf::new(), &mut found)?;
    if found.is_empty() {
        return Err(BringError::Nothing);
    }
    std::fs::create_dir_all(&wish.directory).at("create", &wish.directory)?;
    // The directory itself is the user's word, links in it included.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target =
        rustix::fs::open(&wish.directory, flags, Mode::empty()).at("open", &wish.directory)?;
    let mut all = Vec::new();
    for path in found {
        let mut writer = Writer {
            view,
            brought: Brought {
                from: format!("/{}", path.display()),
                to: wish.directory.clone(),
                files: 0,
                bytes: 0,
            },
        };
        let real = view.resolve(&path, true)?;
        match path.file_name() {
            Some(name) => {
                writer.brought.to.push(name);
                let Some(entry) = view.entry(&real)? else {
                    continue;
                };
                writer.put(&target, name, &entry, 0)?;
            }
            // The whole tree lies in the directory itself.
            None => writer.fill(&target, &real, 0)?,
        }
        all.push(writer.brought);
    }
    if all.is_empty() {
        return Err(BringError::Nothing);
    }
    Ok(all)
}

/// The components of an absolute path, cleaned.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// The paths that `parts` match beneath `dir`, in order.
fn find(
    view: &View,
    parts: &[&str],
    dir: PathBuf,
    found: &mut Vec<PathBuf>,
) -> Result<(), BringError> {
    let Some((first, rest)) = parts.split_first() else {
        found.push(dir);
        return Ok(());
    };
    let real = view.resolve(&dir, true)?;
    if !matches!(view.kind(&real)?, Some(EntryKind::Directory { .. })) {
        return Ok(());
    }
    if !glob::is_pattern(first) {
        if view.kind(&real.join(first))?.is_none() {
            return Ok(());
        }
        return find(view, rest, dir.join(first), found);
    }
    for name in view.list(&real)? {
        let matched = glob::matches(first, &name.to_string_lossy());
        if matched.map_err(|glob::BadPattern| BringError::Pattern)? {
            find(view, rest, dir.join(&name), found)?;
        }
    }
    Ok(())
}

struct Writer<'a> {
    view: &'a View,
    brought: Brought,
}

impl Writer<'_> {
    /// Writes an entry under a name of an open directory.
    fn put(
        &mut self,
        target: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        depth: usize,
    ) -> Result<(), PathError> {
        if depth > DEPTH_LIMIT {
            return Err(Errno::NAMETOOLONG).at("bring out", &entry.path);
        }
        match &entry.kind {
            EntryKind::Directory { .. } => {
                let directory = self.directory(target, name)?;
                self.fill(&directory, &entry.path, depth + 1)?;
                let mode = Mode::from_raw_mode(entry.mode & PERMISSIONS);
                rustix::fs::fchmod(&directory, mode).at("set the mode of", self.shown(name))
            }
            EntryKind::File { .. } => self.file(target, name, entry),
            EntryKind::Symlink(link) => {
                self.clear(target, name)?;
                self.brought.files += 1;
                rustix::fs::symlinkat(link, target, name).at("create", self.shown(name))
            }
            _ => Ok(()),
        }
    }

    /// Writes everything in the directory `path` of the tree.
    fn fill(&mut self, target: &OwnedFd, path: &Path, depth: usize) -> Result<(), PathError> {
        for name in self.view.list(path)? {
            if let Some(entry) = self.view.entry(&path.join(&name))? {
                self.put(target, &name, &entry, depth)?;
            }
        }
        Ok(())
    }

    /// A directory, which may be there already.
    fn directory(&self, target: &OwnedFd, name: &OsStr) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(target, name, flags, Mode::empty());
        match open() {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => self.clear(target, name)?,
            Err(err) => return Err(err).at("open", self.shown(name)),
        }
        rustix::fs::mkdirat(target, name, Mode::RWXU).at("create", self.shown(name))?;
        open().at("open", self.shown(name))
    }

    fn file(&mut self, target: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), PathError> {
        self.clear(target, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)
            .at("create", self.shown(name))?;
        let mut file = File::from(file);
        let mut source = self.view.open(&entry.path)?;
        let bytes = std::io::copy(&mut source, &mut file).at("write", self.shown(name))?;
        let mode = Mode::from_raw_mode(entry.mode & PERMISSIONS);
        rustix::fs::fchmod(&file, mode).at("set the mode of", self.shown(name))?;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: entry.mtime,
                tv_nsec: 0,
            },
        };
        rustix::fs::futimens(&file, &times).at("set the time of", self.shown(name))?;
        self.brought.files += 1;
        self.brought.bytes += bytes;
        Ok(())
    }

    /// Removes what stands in the way.
    fn clear(&self, target: &OwnedFd, name: &OsStr) -> Result<(), PathError> {
        match rustix::fs::unlinkat(target, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // A directory of the user's with all that is in it: not ours to remove.
            Err(err) => Err(err).at("replace", self.shown(name)),
        }
    }

    /// Where a name lies, for messages.
    fn shown(&self, name: &OsStr) -> PathBuf {
        if self.brought.to.file_name() == Some(name) {
            return self.brought.to.clone();
        }
        self.brought.to.join(name)
    }
}
