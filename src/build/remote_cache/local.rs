//! A cache in a directory.
//!
//! ```text
//! DIR/rbuild-cache           {"version":1}
//!     blobs/sha256/<hex>
//!     records/<kind>/<hex>
//! ```
//!
//! What is being written has a name that begins with `.new-`, in the same
//! directory, until it is complete. Whoever writes holds a shared lock on the
//! directory itself, whoever cleans it holds it alone. The directory may be
//! anybody's: every path is opened beneath it, so that a link in it leads nowhere
//! else.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::backend::{
    Backend, BackendError, Before, BlobSink, BlobSource, Checked, Named, RECORD_LIMIT, RecordKey,
    RecordKind,
};
use crate::fs::{At as _, PathError, Root};
use crate::oci::{Descriptor, Digest};
use crate::store::{Process, Store};

/// The file that says what the directory is.
const MARK: &str = "rbuild-cache";
/// The version that is written there.
const VERSION: u32 = 1;
const BLOBS: &str = "blobs/sha256";
/// How the names of unfinished files begin.
const UNFINISHED: &str = ".new-";
/// How old an unfinished file must be to be anybody's no more.
const ABANDONED: Duration = Duration::from_hours(24);
/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// What is in the mark.
#[derive(serde::Serialize, serde::Deserialize)]
struct Mark {
    version: u32,
}

/// A directory with a cache.
#[derive(Debug)]
pub(super) struct LocalCache {
    root: Root,
    /// The directory, locked while it is written to.
    lock: Option<OwnedFd>,
}

impl LocalCache {
    /// Opens an existing cache for reading.
    ///
    /// # Errors
    /// [`BackendError::Missing`] when there is none.
    pub(super) fn open(dir: &Path) -> Result<Self, BackendError> {
        let root = match Root::open(dir) {
            Ok(root) => root,
            Err(err) if err.source.kind() == io::ErrorKind::NotFound => {
                return Err(BackendError::Missing);
            }
            Err(err) => return Err(err.into()),
        };
        let cache = Self { root, lock: None };
        let mark = cache.read(Path::new(MARK))?.ok_or(BackendError::Missing)?;
        let mark: Mark =
            serde_json::from_slice(&mark).map_err(|err| BackendError::damaged(MARK, err))?;
        if mark.version != VERSION {
            return Err(BackendError::Version(mark.version));
        }
        Ok(cache)
    }

    /// Opens a cache for writing, making what is missing.
    ///
    /// # Errors
    /// [`BackendError::Foreign`] when there is something else in the directory.
    pub(super) fn create(dir: &Path) -> Result<Self, BackendError> {
        std::fs::create_dir_all(dir).at("create", dir)?;
        let mut cache = match Self::open(dir) {
            Err(BackendError::Missing) => Self::begin(dir)?,
            // A mark that was torn by a power cut is written anew.
            Err(BackendError::Damaged { .. }) => {
                let cache = Self {
                    root: Root::open(dir)?,
                    lock: None,
                };
                cache.write_mark()?;
                cache
            }
            other => other?,
        };
        cache.make_dir("blobs")?;
        cache.make_dir(BLOBS)?;
        cache.make_dir("records")?;
        for kind in RecordKind::ALL {
            cache.make_dir(&format!("records/{}", kind.name()))?;
        }
        let lock = cache.dir(Path::new(""))?;
        rustix::fs::flock(&lock, FlockOperation::LockShared).at("lock", dir)?;
        cache.lock = Some(lock);
        Ok(cache)
    }

    fn begin(dir: &Path) -> Result<Self, BackendError> {
        let mut entries = std::fs::read_dir(dir).at("list", dir)?;
        // Another build may be at the same point, or was killed there.
        let is_ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with(UNFINISHED) || name == MARK || name == "blobs" || name == "records"
        };
        let foreign = entries.any(|entry| entry.is_ok_and(|entry| !is_ours(&entry.file_name())));
        if foreign {
            return Err(BackendError::Foreign);
        }
        let cache = Self {
            root: Root::open(dir)?,
            lock: None,
        };
        cache.write_mark()?;
        Ok(cache)
    }

    fn write_mark(&self) -> Result<(), BackendError> {
        let mark = serde_json::to_vec(&Mark { version: VERSION })
            .map_err(|err| BackendError::damaged(MARK, err))?;
        self.write_whole(Path::new(""), MARK, &mark)
    }

    fn make_dir(&self, path: &str) -> Result<(), BackendError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.dir(Path::new(parent))?;
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(err) => Err(at(err, "create", self.shown(path)).into()),
        }
    }

    fn dir(&self, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.root.open_at(path, flags, Mode::empty())
    }

    fn shown(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(path)
    }

    /// Opens a regular file; `None` when it is not there.
    fn open_file(&self, path: &Path) -> Result<Option<File>, BackendError> {
        let file = match self.root.open_file(path) {
            Ok(file) => file,
            Err(err) if err.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        let meta = file.metadata().at("look at", self.shown(path))?;
        if !meta.is_file() {
            return Err(BackendError::damaged(
                self.shown(path).display(),
                "it is no file",
            ));
        }
        Ok(Some(file))
    }

    fn new_blob(&self) -> Result<NewFile<'_>, BackendError> {
        let mut new = NewFile::begin(self, Path::new(BLOBS))?;
        new.is_synced = true;
        Ok(new)
    }

    /// Reads a small file; `None` when it is not there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(RECORD_LIMIT + 1)
            .read_to_end(&mut bytes)
            .at("read", self.shown(path))?;
        if bytes.len() as u64 > RECORD_LIMIT {
            return Err(BackendError::damaged(
                self.shown(path).display(),
                "it is too large",
            ));
        }
        Ok(Some(bytes))
    }

    fn write_whole(&self, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), BackendError> {
        let mut new = NewFile::begin(self, dir)?;
        new.write_all(bytes).at("write", self.shown(dir))?;
        new.finish(name)
    }

    /// The names in a directory, unfinished files left out; their age is looked at,
    /// and those of nobody are removed.
    fn names(&self, path: &str) -> Result<Vec<String>, BackendError> {
        let dir = self.dir(Path::new(path))?;
        let shown = self.shown(path);
        let mut names = Vec::new();
        let entries = rustix::fs::Dir::read_from(&dir).at("list", &shown)?;
        for entry in entries {
            let entry = entry.at("list", &shown)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name.starts_with(UNFINISHED) {
                remove_abandoned(&dir, name);
            } else if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn remove(&self, dir: &str, names: Vec<String>) -> Result<(), BackendError> {
        let fd = self.dir(Path::new(dir))?;
        for name in names {
            match rustix::fs::unlinkat(&fd, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(err) => return Err(at(err, "remove", self.shown(dir).join(name)).into()),
            }
        }
        Ok(())
    }
}

fn at(err: Errno, action: &'static str, path: PathBuf) -> PathError {
    PathError {
        action,
        path,
        source: err.into(),
    }
}

fn remove_abandoned(dir: &OwnedFd, name: &str) {
    let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return;
    };
    let written = u64::try_from(stat.st_mtime).unwrap_or_default();
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(written);
    let is_old = written.elapsed().is_ok_and(|age| age > ABANDONED);
    if is_old && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        // Nothing depends on it; the next one tries again.
        let _left = rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
}

fn blob_path(digest: Digest) -> PathBuf {
    Path::new(BLOBS).join(digest.hex())
}

impl Backend for LocalCache {
    fn blob_size(&self, digest: Digest) -> Result<Option<u64>, BackendError> {
        let path = blob_path(digest);
        let Some(file) = self.open_file(&path)? else {
            return Ok(None);
        };
        let meta = file.metadata().at("look at", self.shown(&path))?;
        Ok(Some(meta.len()))
    }

    fn read_blob(
        &self,
        _store: &Store,
        digest: Digest,
        _size: u64,
    ) -> Result<Box<dyn Read + Send>, BackendError> {
        match self.open_file(&blob_path(digest))? {
            Some(file) => Ok(Box::new(file)),
            None => Err(BackendError::damaged(
                format!("blob {digest}"),
                "it is missing",
            )),
        }
    }

    fn write_blob<'a>(&'a self, _store: &'a Store) -> Result<Box<dyn BlobSink + 'a>, BackendError> {
        Ok(Box::new(self.new_blob()?))
    }

    fn get_record(&self, key: RecordKey) -> Result<Option<Vec<u8>>, BackendError> {
        self.read(&Path::new("records").join(key.to_string()))
    }

    fn put_record(&self, key: RecordKey, bytes: &[u8]) -> Result<(), BackendError> {
        let dir = Path::new("records").join(key.kind.name());
        self.write_whole(&dir, &key.id.hex(), bytes)
    }

    fn add_blob(&self, blob: &Descriptor, source: &BlobSource<'_>) -> Result<bool, BackendError> {
        if self.blob_size(blob.digest)? == Some(blob.size) {
            return Ok(false);
        }
        let bytes = (source.open)().map_err(BackendError::Pack)?;
        let mut sink = self.new_blob()?;
        let mut bytes = Checked::new(bytes, blob.digest, blob.size);
        io::copy(&mut bytes, &mut sink)
            .map_err(|err| BackendError::damaged(format!("blob {}", blob.digest), err))?;
        sink.finish(&blob.digest.hex())?;
        Ok(true)
    }

    fn finish(&self, named: &Named, before: Before) -> Result<(), BackendError> {
        // Records of all builds lie side by side.
        if before != Before::Goes {
            return Ok(());
        }
        let (records, blobs) = (&named.records, &named.blobs);
        // What somebody else is writing is not known here, so it all stays.
        let Some(lock) = &self.lock else {
            return Ok(());
        };
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(()),
            other => other.at("lock", self.root.path())?,
        }
        for kind in RecordKind::ALL {
            let dir = format!("records/{}", kind.name());
            let mut names = self.names(&dir)?;
            names.retain(|name| {
                let id = Digest::from_hex(name).ok();
                !id.is_some_and(|id| records.contains(&RecordKey { kind, id }))
            });
            self.remove(&dir, names)?;
        }
        let mut names = self.names(BLOBS)?;
        names
            .retain(|name| !Digest::from_hex(name).is_ok_and(|digest| blobs.contains_key(&digest)));
        self.remove(BLOBS, names)
    }
}

/// A file that appears under its name when it is complete.
struct NewFile<'a> {
    cache: &'a LocalCache,
    dir: OwnedFd,
    path: PathBuf,
    name: String,
    file: Option<BufWriter<File>>,
    /// Whether it must survive a power cut once it has its name: a record that does
    /// not is seen to be damaged at once, a blob only when it is read.
    is_synced: bool,
}

impl<'a> NewFile<'a> {
    fn begin(cache: &'a LocalCache, path: &Path) -> Result<Self, BackendError> {
        /// Tells the files of one process apart.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = cache.dir(path)?;
        let process = Process::this();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // Of several machines on one file system, two may have the same process.
            let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let moment = moment.map_or(0, |moment| moment.subsec_nanos());
            let name = format!(
                "{UNFINISHED}{}-{}-{count}-{moment}",
                process.pid, process.started
            );
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            match rustix::fs::openat(dir.as_fd(), name.as_str(), flags, mode) {
                Ok(file) => {
                    return Ok(Self {
                        cache,
                        dir,
                        path: path.to_owned(),
                        name,
                        file: Some(BufWriter::with_capacity(BUFFER, File::from(file))),
                        is_synced: false,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(err) => return Err(at(err, "create a file in", cache.shown(path)).into()),
            }
        }
    }

    fn finish(mut self, name: &str) -> Result<(), BackendError> {
        let shown = self.cache.shown(&self.path).join(name);
        if let Some(mut file) = self.file.take() {
            let mut written = file.flush();
            if self.is_synced {
                written = written.and_then(|()| file.get_ref().sync_data());
            }
            drop(file);
            if written.is_err() {
                self.remove();
            }
            written.at("write", &shown)?;
        }
        if let Err(err) = rustix::fs::renameat(&self.dir, self.name.as_str(), &self.dir, name) {
            self.remove();
            return Err(at(err, "rename a file to", shown).into());
        }
        Ok(())
    }

    fn remove(&self) {
        // One that stays is removed when it is old.
        let _left = rustix::fs::unlinkat(&self.dir, self.name.as_str(), AtFlags::empty());
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.remove();
        }
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}

impl BlobSink for NewFile<'_> {
    fn commit(self: Box<Self>, digest: Digest) -> Result<(), BackendError> {
        self.finish(&digest.hex())
    }
}
