//! A tar into a directory that has content already.
//!
//! Each path of the archive is opened beneath the root anew, so that a link which
//! an earlier entry made, or which was there, leads to places beneath the root and
//! to no others.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags, chmodat, chownat, fchmod, fchown, linkat, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::CopyIn;
use crate::container::Error;
use crate::fs::{At, PathError, Root};
use crate::layer::{Entry, EntryKind, Limits, TarReader, UnpackError, decompress};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Puts the content of a tar, compressed or not, into a directory beneath `root`.
pub(super) fn extract(
    root: &Root,
    to: &CopyIn,
    source: &mut (dyn Read + Send),
) -> Result<(), Error> {
    let (_, mut plain) = decompress(source).map_err(UnpackError::Damaged)?;
    root.open_at(&to.directory, DIRECTORY, Mode::empty())?;
    let mut target = Target {
        root,
        to,
        directories: Vec::new(),
    };
    let mut tar = TarReader::new(&mut plain, Limits::default());
    while let Some(entry) = tar.next_entry()? {
        if !entry.path.as_os_str().is_empty() {
            target.apply(&entry, &mut tar)?;
        }
    }
    tar.finish()?;
    Ok(target.finish()?)
}

struct Target<'a> {
    root: &'a Root,
    to: &'a CopyIn,
    /// Directories whose times are set when everything is in them.
    directories: Vec<(PathBuf, i64)>,
}

impl Target<'_> {
    fn apply(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Error> {
        let path = self.to.directory.join(&entry.path);
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let parent = self.directory(above)?;
        let there = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let there = there.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let is_directory = there == Some(FileType::Directory);
        match (there.is_some(), entry.is_directory()) {
            (true, true) if !is_directory => {
                return Err(Error::Invalid(format!(
                    "cannot overwrite non-directory \"{}\" with directory \"{}\"",
                    path.display(),
                    entry.path.display()
                )));
            }
            (true, false) if is_directory => {
                return Err(Error::Invalid(format!(
                    "cannot overwrite directory \"{}\" with non-directory \"{}\"",
                    path.display(),
                    entry.path.display()
                )));
            }
            _ => {}
        }
        if entry.is_directory() {
            return Ok(self.make_directory(entry, &path, &parent, name)?);
        }
        if let EntryKind::File { .. } = entry.kind {
            return Ok(self.write_file(entry, &path, &parent, name, content)?);
        }
        remove(&parent, name).at("replace", &path)?;
        Ok(self.make_other(entry, &path, &parent, name)?)
    }

    /// A directory beneath the root; what is missing of it is made.
    fn directory(&self, path: &Path) -> Result<OwnedFd, PathError> {
        match self.root.open_at(path, DIRECTORY, Mode::empty()) {
            Err(err) if err.source.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let above = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err).at("create", path),
        }
        self.root.open_at(path, DIRECTORY, Mode::empty())
    }

    fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.to.owner.unwrap_or((entry.uid, entry.gid));
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    fn make_directory(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), PathError> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err).at("create", path),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(parent, name, flags, Mode::empty()).at("open", path)?;
        self.own(entry, path, &dir)?;
        self.directories.push((path.to_owned(), entry.mtime));
        Ok(())
    }

    /// Sets owner, mode and attributes of what is open.
    fn own(&self, entry: &Entry, path: &Path, file: impl AsFd) -> Result<(), PathError> {
        let (uid, gid) = self.owner(entry);
        fchown(&file, uid, gid).at("set the owner of", path)?;
        fchmod(&file, mode(entry)).at("set the mode of", path)?;
        for (key, value) in &entry.xattrs {
            // A file system without them keeps the file.
            let _refused = rustix::fs::fsetxattr(&file, key.as_str(), value, XattrFlags::empty());
        }
        Ok(())
    }

    fn write_file(
        &self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        content: &mut dyn Read,
    ) -> Result<(), PathError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |more| openat(parent, name, flags | more, Mode::from_raw_mode(0o600));
        let opened = match remove(parent, name) {
            // A mount point, such as a container's `/etc/hosts`, is written in place.
            Err(Errno::BUSY) => open(OFlags::TRUNC | OFlags::NONBLOCK),
            Err(err) => Err(err),
            Ok(()) => open(OFlags::CREATE | OFlags::EXCL),
        };
        let mut file = File::from(opened.at("create", path)?);
        io::copy(content, &mut file).at("write", path)?;
        self.own(entry, path, &file)?;
        rustix::fs::futimens(&file, &times(entry.mtime)).at("set the time of", path)
    }

    fn make_other(
        &self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), PathError> {
        const CREATE: &str = "create";
        let device = |kind, major, minor| {
            mknodat(
                parent,
                name,
                kind,
                mode(entry),
                rustix::fs::makedev(major, minor),
            )
        };
        match &entry.kind {
            EntryKind::Symlink(target) => symlinkat(target, parent, name).at(CREATE, path)?,
            EntryKind::HardLink(first) => {
                let first = self.to.directory.join(first);
                let above = self.directory(first.parent().unwrap_or(Path::new("")))?;
                let known = first.file_name().unwrap_or(OsStr::new("."));
                linkat(&above, known, parent, name, AtFlags::empty()).at(CREATE, path)?;
                return Ok(());
            }
            EntryKind::CharDevice { major, minor } => {
                device(FileType::CharacterDevice, *major, *minor).at(CREATE, path)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                device(FileType::BlockDevice, *major, *minor).at(CREATE, path)?;
            }
            EntryKind::Fifo => device(FileType::Fifo, 0, 0).at(CREATE, path)?,
            EntryKind::File { .. } | EntryKind::Directory { .. } | EntryKind::Whiteout => {}
        }
        let (uid, gid) = self.owner(entry);
        chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at("set the owner of", path)?;
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            chmodat(parent, name, mode(entry), AtFlags::empty()).at("set the mode of", path)?;
        }
        utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", path)
    }

    /// Sets the times of directories, the innermost first.
    fn finish(self) -> Result<(), PathError> {
        for (path, mtime) in self.directories.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            // Something else may have taken its place.
            if let Ok(dir) = self.root.open_at(path, flags, Mode::empty()) {
                rustix::fs::futimens(&dir, &times(*mtime)).at("set the time of", path)?;
            }
        }
        Ok(())
    }
}

fn remove(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(err),
    }
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(RawMode::from(entry.mode & 0o7777))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{PackOptions, Packer};

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000,
            xattrs: Vec::new(),
        }
    }

    fn file(path: &str) -> Entry {
        let kind = EntryKind::File {
            size: 1,
            content: None,
        };
        entry(path, kind)
    }

    fn extract_into(root: &Path, entries: &[Entry]) -> Result<(), Error> {
        let mut packer = Packer::new(Vec::new(), PackOptions::default());
        for entry in entries {
            packer.entry(entry, &mut &b"x"[..]).unwrap();
        }
        let (_, tar) = packer.finish().unwrap();
        let to = CopyIn {
            directory: PathBuf::from("/in"),
            owner: Some((
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            )),
        };
        std::fs::create_dir_all(root.join("in")).unwrap();
        extract(&Root::open(root).unwrap(), &to, &mut tar.as_slice())
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("../../..", root.join("up")).unwrap();
        extract_into(
            &root,
            &[
                entry("out", EntryKind::Symlink("/../../..".into())),
                file("out/escaped"),
                entry("rel", EntryKind::Symlink("../up".into())),
                file("rel/too"),
            ],
        )
        .unwrap();
        assert!(root.join("escaped").is_file() && root.join("too").is_file());
        assert!(!dir.path().join("escaped").exists());
    }

    #[test]
    fn kinds_do_not_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/d")).unwrap();
        let error = extract_into(dir.path(), &[file("d")]).unwrap_err();
        assert!(
            error.to_string().contains("cannot overwrite directory"),
            "{error}"
        );
        extract_into(
            dir.path(),
            &[file("a"), entry("b", EntryKind::HardLink("a".into()))],
        )
        .unwrap();
        assert_eq!(std::fs::read(dir.path().join("in/b")).unwrap(), b"x");
    }
}
