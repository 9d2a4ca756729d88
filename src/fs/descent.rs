//! Walking down and up a directory tree of any depth with few descriptors.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags, fstat, openat, openat2};

/// How many of the innermost levels keep their descriptor: few enough that a
/// tree of any depth fits under the usual soft limit of 1,024 open files.
const KEPT: usize = 64;

/// The way from a root directory down to a current one.
///
/// Only the innermost levels are held open. An outer one is opened again through
/// `..` on the way back, and its device and inode must be those that it had, so
/// that a directory which somebody moved meanwhile cannot lead the walk astray.
/// Links are never followed, and mount points are not entered.
#[derive(Debug)]
pub struct Descent {
    current: OwnedFd,
    /// The directories above, the root first.
    above: Vec<Level>,
}

#[derive(Debug)]
enum Level {
    Open(OwnedFd),
    Closed { device: u64, inode: u64 },
}

impl Descent {
    /// Starts in `root`, a directory opened for reading.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            current: root,
            above: Vec::new(),
        }
    }

    /// The current directory, open for reading.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.current.as_fd()
    }

    /// How many levels the current directory lies beneath the root.
    pub fn depth(&self) -> usize {
        self.above.len()
    }

    /// Goes down into `name`, which must be a directory of the same mount.
    pub fn enter(&mut self, name: &CStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let fd = openat2(self.dir(), name, flags, Mode::empty(), resolve)?;
        if let Some(index) = self.above.len().checked_sub(KEPT)
            && let Level::Open(fd) = &self.above[index]
        {
            let stat = fstat(fd)?;
            self.above[index] = Level::Closed {
                device: stat.st_dev,
                inode: stat.st_ino,
            };
        }
        let parent = std::mem::replace(&mut self.current, fd);
        self.above.push(Level::Open(parent));
        Ok(())
    }

    /// Goes up to the directory that contains the current one; does nothing at
    /// the root.
    pub fn leave(&mut self) -> io::Result<()> {
        match self.above.pop() {
            None => {}
            Some(Level::Open(fd)) => self.current = fd,
            Some(Level::Closed { device, inode }) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = openat(self.dir(), c"..", flags, Mode::empty())?;
                let stat = fstat(&fd)?;
                if (stat.st_dev, stat.st_ino) != (device, inode) {
                    return Err(io::Error::other("a directory was moved during the walk"));
                }
                self.current = fd;
            }
        }
        Ok(())
    }

    /// Calls `each` with every name in the current directory but `.` and `..`,
    /// and whether the file system says that it is a directory; in no order.
    pub fn names(&self, each: &mut dyn FnMut(&CStr, bool)) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(32 << 10);
        // A directory is listed once a descriptor; a second listing starts where
        // the first ended unless it is wound back.
        rustix::fs::seek(self.dir(), rustix::fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(self.dir(), buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                each(name, entry.file_type() == rustix::fs::FileType::Directory);
            }
        }
        Ok(())
    }
}
