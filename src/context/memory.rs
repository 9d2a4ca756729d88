//! Content digests that are remembered between builds.
//!
//! A digest counts as long as device, inode, size, mtime and ctime of the file
//! are what they were when it was read. A stamp that was fresh at that moment is
//! not kept: a later change within the clock's granularity could leave it as it
//! is (the "racy git" problem).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use rustix::fs::Stat;

use crate::oci::Digest;

/// First bytes of the file; changed with its format.
const MAGIC: &[u8; 8] = b"rbctx\0\0\x01";
/// Largest file that is read back.
const FILE_LIMIT: u64 = 1 << 30;
/// How old a stamp must be to be trusted, in nanoseconds: more than one tick of
/// the kernel's coarse clock.
const FRESH: i64 = 20_000_000;
/// The same where times have whole seconds only.
const FRESH_SECONDS: i64 = 2_000_000_000;

/// What tells that a file has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i64,
    ctime: i64,
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(stat: &Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| {
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(rest).unwrap_or(0))
        };
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a change right after `now` would surely show in the stamp.
    fn is_settled(&self, now: i64) -> bool {
        let newest = self.mtime.max(self.ctime);
        let fresh = if newest % 1_000_000_000 == 0 {
            FRESH_SECONDS
        } else {
            FRESH
        };
        newest.saturating_add(fresh) < now
    }
}

/// The digests of one context's files, by path.
#[derive(Debug)]
pub struct Memory {
    file: PathBuf,
    known: HashMap<PathBuf, (Stamp, Digest)>,
    fresh: Mutex<Vec<(PathBuf, Stamp, Digest)>>,
}

impl Memory {
    /// Reads what is remembered in `file`; nothing when it is missing or damaged.
    pub fn load(file: PathBuf) -> Self {
        let known = read(&file).unwrap_or_default();
        Self {
            file,
            known,
            fresh: Mutex::default(),
        }
    }

    /// The digest of the file at `path`, if it has not changed.
    pub fn get(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        let (known, digest) = self.known.get(path)?;
        (known == stamp).then_some(*digest)
    }

    /// Remembers a digest whose file had `stamp` before and after it was read.
    pub fn put(&self, path: &Path, stamp: Stamp, digest: Digest) {
        if stamp.is_settled(now()) {
            self.lock().push((path.to_owned(), stamp, digest));
        }
    }

    /// Writes what is new. Failing costs time in the next build and nothing
    /// else, so a failure is not reported; the file carries its own digest and a
    /// torn one is dropped.
    pub fn save(&mut self) {
        let fresh = std::mem::take(&mut *self.lock());
        if fresh.is_empty() {
            return;
        }
        for (path, stamp, digest) in fresh {
            self.known.insert(path, (stamp, digest));
        }
        let bytes = write(&self.known);
        let Some(dir) = self.file.parent() else {
            return;
        };
        let Ok(mut temporary) = tempfile::NamedTempFile::new_in(dir) else {
            return;
        };
        if std::io::Write::write_all(&mut temporary, &bytes).is_ok() {
            drop(temporary.persist(&self.file));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, Stamp, Digest)>> {
        self.fresh
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

fn write(known: &HashMap<PathBuf, (Stamp, Digest)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, (stamp, digest)) in known {
        let path = path.as_os_str().as_bytes();
        let Ok(length) = u16::try_from(path.len()) else {
            continue;
        };
        bytes.extend(length.to_le_bytes());
        bytes.extend(path);
        for number in [stamp.device, stamp.inode, stamp.size] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(stamp.mtime.to_le_bytes());
        bytes.extend(stamp.ctime.to_le_bytes());
        bytes.extend(digest.raw());
    }
    let sum = Digest::of(&bytes);
    bytes.extend(sum.raw());
    bytes
}

fn read(file: &Path) -> Option<HashMap<PathBuf, (Stamp, Digest)>> {
    if std::fs::metadata(file).ok()?.len() > FILE_LIMIT {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).raw() != sum {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut known = HashMap::with_capacity(rest.len() / 100);
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(*take::<2>(&mut rest)?));
        let (path, after) = rest.split_at_checked(length)?;
        rest = after;
        let stamp = Stamp {
            device: u64::from_le_bytes(*take(&mut rest)?),
            inode: u64::from_le_bytes(*take(&mut rest)?),
            size: u64::from_le_bytes(*take(&mut rest)?),
            mtime: i64::from_le_bytes(*take(&mut rest)?),
            ctime: i64::from_le_bytes(*take(&mut rest)?),
        };
        let digest = Digest::from_raw(*take(&mut rest)?);
        known.insert(PathBuf::from(OsStr::from_bytes(path)), (stamp, digest));
    }
    Some(known)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime: i64) -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            size: 3,
            mtime,
            ctime: mtime,
        }
    }

    #[test]
    fn what_is_saved_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m");
        let mut memory = Memory::load(file.clone());
        memory.put(Path::new("a/b"), stamp(5), Digest::of(b"x"));
        memory.save();
        let again = Memory::load(file.clone());
        assert_eq!(
            again.get(Path::new("a/b"), &stamp(5)),
            Some(Digest::of(b"x"))
        );
        assert_eq!(again.get(Path::new("a/b"), &stamp(6)), None);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(Memory::load(file).get(Path::new("a/b"), &stamp(5)), None);
    }

    #[test]
    fn a_fresh_stamp_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::load(dir.path().join("m"));
        memory.put(Path::new("a"), stamp(now()), Digest::of(b"x"));
        memory.save();
        assert!(!dir.path().join("m").exists());
    }
}
