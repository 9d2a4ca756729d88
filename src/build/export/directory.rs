//! The files of the result into a directory of the caller's.
//!
//! The directory may hold anything, links that lead elsewhere too: nothing is
//! followed, every name is opened beneath the directory. Files are the caller's;
//! a setuid or setgid bit of somebody else's file is dropped, as it would become
//! the caller's.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags,
};
use rustix::io::Errno;

use super::Built;
use super::tree::parts;
use crate::build::Error;
use crate::build::output::FilesOutput;
use crate::fs::{At, Descent, PathError, remove_at};
use crate::layer::{Entry, EntryKind};
use crate::store::Store;

/// The name under which something is made before it takes its place.
const TEMPORARY: &CStr = c".rbuild-output";

/// Writes the files.
pub(super) fn write(
    store: &Store,
    built: &[Built],
    output: &FilesOutput,
    path: &Path,
) -> Result<(), Error> {
    let parts = parts(store, built, output)?;
    std::fs::create_dir_all(path).at("create", path)?;
    let mut writer = Writer::open(path)?;
    for part in &parts {
        part.walk(&mut |entry, file| Ok(writer.put(entry, file)?))?;
    }
    if output.delete {
        writer.delete_others()?;
    }
    Ok(writer.finish()?)
}

struct Writer<'a> {
    path: &'a Path,
    root: OwnedFd,
    /// The directory that was written to last, by its path in the output.
    last: Option<(PathBuf, OwnedFd)>,
    /// Directories with their final modes and times, parents before children.
    directories: Vec<(PathBuf, u32, i64)>,
    /// Everything that was written.
    written: BTreeSet<PathBuf>,
}

impl<'a> Writer<'a> {
    fn open(path: &'a Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            path,
            root: rustix::fs::open(path, flags, Mode::empty()).at("open", path)?,
            last: None,
            directories: Vec::new(),
            written: BTreeSet::new(),
        })
    }

    fn put(&mut self, entry: &Entry, file: Option<File>) -> Result<(), PathError> {
        let shown = self.path.join(&entry.path);
        self.put_in(entry, file).at("write", shown)?;
        self.written.insert(entry.path.clone());
        Ok(())
    }

    fn put_in(&mut self, entry: &Entry, file: Option<File>) -> io::Result<()> {
        let parent = entry.path.parent().unwrap_or(Path::new(""));
        let name = entry.path.file_name().unwrap_or_default();
        let root = self.root.as_fd();
        let dir = match &mut self.last {
            Some((path, dir)) if path == parent => &*dir,
            last => {
                &last
                    .insert((parent.to_owned(), open_beneath(root, parent)?))
                    .1
            }
        };
        let name = CString::new(name.as_bytes())?;
        if entry.is_directory() {
            self.directories
                .push((entry.path.clone(), own_mode(entry), entry.mtime));
            return make_directory(dir.as_fd(), &name);
        }
        make(root, dir.as_fd(), entry, file).inspect_err(|_| {
            // What it was made as does not stay; the error matters more than this one.
            rustix::fs::unlinkat(dir, TEMPORARY, AtFlags::empty()).ok();
        })?;
        take_place(dir.as_fd(), &name)
    }

    /// Removes what is in the directory and was not written.
    fn delete_others(&mut self) -> Result<(), PathError> {
        let written = self.directories.iter().map(|(path, ..)| path.clone());
        let all: Vec<PathBuf> = std::iter::once(PathBuf::new()).chain(written).collect();
        for directory in all {
            let shown = self.path.join(&directory);
            let dir = open_beneath(self.root.as_fd(), &directory).at("open", &shown)?;
            let mut others = Vec::new();
            let reader = rustix::io::dup(&dir).at("open", &shown)?;
            Descent::new(reader)
                .names(&mut |name, _| {
                    let name = OsStr::from_bytes(name.to_bytes());
                    if !self.written.contains(&directory.join(name)) {
                        others.push(name.to_owned());
                    }
                })
                .at("list", &shown)?;
            for name in others {
                remove_at(&dir, &name).at("remove", shown.join(&name))?;
            }
        }
        Ok(())
    }

    /// Gives directories their modes and times, now that nothing more is made in them.
    fn finish(self) -> Result<(), PathError> {
        for (path, mode, mtime) in self.directories.iter().rev() {
            let shown = self.path.join(path);
            let dir = open_beneath(self.root.as_fd(), path).at("open", &shown)?;
            let mode = Mode::from_raw_mode(*mode);
            rustix::fs::fchmod(&dir, mode).at("set the mode of", &shown)?;
            rustix::fs::futimens(&dir, &times(*mtime)).at("set the time of", &shown)?;
        }
        Ok(())
    }
}

/// Opens a directory of the output; no component may be a link.
fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes a directory that its maker can write to for now; one that is there stays.
fn make_directory(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    match there.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_mode)) {
        Ok((FileType::Directory, mode)) => {
            if mode & 0o700 != 0o700 {
                let mode = Mode::from_raw_mode(mode & 0o7777 | 0o700);
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
            }
            return Ok(());
        }
        Ok(_) => rustix::fs::unlinkat(dir, name, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        Err(err) => return Err(err.into()),
    }
    Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?)
}

/// Makes an entry under the temporary name.
fn make(
    root: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    entry: &Entry,
    file: Option<File>,
) -> io::Result<()> {
    remove_at(dir, OsStr::from_bytes(TEMPORARY.to_bytes()))?;
    let device = |kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(dir, TEMPORARY, kind, Mode::RUSR | Mode::WUSR, device)
    };
    match &entry.kind {
        EntryKind::File { .. } => return make_file(dir, entry, file),
        EntryKind::HardLink(first) => {
            let parent = open_beneath(root, first.parent().unwrap_or(Path::new("")))?;
            let name = first.file_name().unwrap_or_default();
            return Ok(rustix::fs::linkat(
                parent,
                name,
                dir,
                TEMPORARY,
                AtFlags::empty(),
            )?);
        }
        EntryKind::Symlink(target) => rustix::fs::symlinkat(target, dir, TEMPORARY)?,
        EntryKind::Fifo => device(FileType::Fifo, 0, 0)?,
        EntryKind::CharDevice { major, minor } => {
            device(FileType::CharacterDevice, *major, *minor)?;
        }
        EntryKind::BlockDevice { major, minor } => device(FileType::BlockDevice, *major, *minor)?,
        // Neither is in a merged tree; directories are made elsewhere.
        EntryKind::Whiteout | EntryKind::Directory { .. } => return Ok(()),
    }
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        let mode = Mode::from_raw_mode(own_mode(entry));
        rustix::fs::chmodat(dir, TEMPORARY, mode, AtFlags::empty())?;
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(
        dir,
        TEMPORARY,
        &times(entry.mtime),
        flags,
    )?)
}

fn make_file(dir: BorrowedFd<'_>, entry: &Entry, file: Option<File>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let mut target = File::from(rustix::fs::openat(dir, TEMPORARY, flags, private)?);
    if let Some(mut file) = file {
        io::copy(&mut file, &mut target)?;
    }
    for (name, value) in &entry.xattrs {
        // A capability of a file that is now the caller's would be the caller's.
        if !name.starts_with("user.") {
            continue;
        }
        match rustix::fs::fsetxattr(&target, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC) => {}
            Err(err) => return Err(err.into()),
        }
    }
    rustix::fs::fchmod(&target, Mode::from_raw_mode(own_mode(entry)))?;
    Ok(rustix::fs::futimens(&target, &times(entry.mtime))?)
}

/// The mode that an entry may have as the caller's.
fn own_mode(entry: &Entry) -> u32 {
    let caller = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if caller == (entry.uid, entry.gid) {
        entry.mode
    } else {
        entry.mode & !0o6000
    }
}

/// Puts what was made in the place of whatever is there.
fn take_place(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::renameat(dir, TEMPORARY, dir, name) {
        Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
            remove_at(dir, OsStr::from_bytes(name.to_bytes()))?;
            rustix::fs::renameat(dir, TEMPORARY, dir, name)?;
        }
        other => other?,
    }
    // Renaming one name of a file over another does nothing at all.
    match rustix::fs::unlinkat(dir, TEMPORARY, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime,
            tv_nsec: 0,
        },
    }
}
