//! Blobs that are being sent to the built-in registry.
//!
//! What came so far lies in a file of its own, which outlives connections and
//! processes: its length is where the sender goes on. Whoever writes holds a
//! lock on the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::super::{Error, Store, now};
use crate::fs::{At, PathError};
use crate::oci::{Digest, Hasher};

/// How long an upload waits for its next bytes.
const PATIENCE: Duration = Duration::from_hours(24);
/// Most uploads at once.
const MOST: i64 = 10_000;
/// How much is read at a time.
const PIECE: usize = 256 << 10;

/// An upload that this process writes.
#[derive(Debug)]
pub struct Upload {
    id: String,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Upload {
    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes that came so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Hashes what came so far, reading it again.
    pub fn hash(&mut self) -> Result<Hasher, Error> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; PIECE];
        self.file.seek(SeekFrom::Start(0)).at("read", &self.path)?;
        loop {
            match self.file.read(&mut buffer).at("read", &self.path)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        self.file.seek(SeekFrom::End(0)).at("read", &self.path)?;
        Ok(hasher)
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What became of an attempt to open an upload.
#[derive(Debug)]
pub enum UploadOpened {
    /// It is ours now.
    Ours(Upload),
    /// Somebody else writes it.
    Busy,
    /// There is none of this name in the repository.
    Unknown,
}

impl Store {
    /// Begins an upload; its name, or `None` when there are too many.
    pub fn upload_begin(&self, repository: &str) -> Result<Option<String>, Error> {
        let mut raw = [0; 32];
        let path = self.paths().uploads();
        rustix::rand::getrandom(&mut raw, rustix::rand::GetRandomFlags::empty())
            .at("name an upload in", &path)?;
        let id = Digest::from_raw(raw).hex();
        self.write(|tx| {
            let open: i64 = tx
                .prepare_cached("SELECT count(*) FROM hosted_uploads")?
                .query_row([], |row| row.get(0))?;
            if open >= MOST {
                return Ok(None);
            }
            tx.prepare_cached(
                "INSERT INTO hosted_uploads (id, repository, begun_at) VALUES (?1, ?2, ?3)",
            )?
            .execute((&id, repository, now()))?;
            Ok(Some(id))
        })
    }

    /// Bytes that came of an upload so far; `None` when there is none of this
    /// name in the repository.
    pub fn upload_length(&self, repository: &str, id: &str) -> Result<Option<u64>, Error> {
        if !self.has_upload(repository, id)? {
            return Ok(None);
        }
        let path = self.upload_path(id);
        match std::fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Some(0)),
            Err(err) => Err(err).at("look at", &path)?,
        }
    }

    /// Opens an upload, ready to be added to.
    pub fn upload_open(&self, repository: &str, id: &str) -> Result<UploadOpened, Error> {
        if !self.has_upload(repository, id)? {
            return Ok(UploadOpened::Unknown);
        }
        let path = self.upload_path(id);
        let dir = self.paths().uploads();
        match std::fs::create_dir(&dir) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.at("create", &dir)?,
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(UploadOpened::Busy),
            Err(std::fs::TryLockError::Error(err)) => Err(err).at("lock", &path)?,
        }
        // It may have been finished while we came here.
        if !self.has_upload(repository, id)? {
            return Ok(UploadOpened::Unknown);
        }
        let length = file.seek(SeekFrom::End(0)).at("read", &path)?;
        Ok(UploadOpened::Ours(Upload {
            id: id.to_owned(),
            path,
            file,
            length,
        }))
    }

    /// Makes an upload a blob of its repository. `hasher` has all of its bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the bytes are not `expected`; the upload is removed.
    pub fn upload_finish(
        &self,
        repository: &str,
        upload: &Upload,
        hasher: Hasher,
        expected: Digest,
    ) -> Result<(), Error> {
        let got = hasher.finish();
        if got != expected {
            self.upload_remove(repository, &upload.id)?;
            return Err(Error::Damaged {
                want: expected,
                got,
            });
        }
        upload.file.sync_data().at("sync", &upload.path)?;
        self.hosted_blob_settle(repository, expected, upload.length, &upload.path)?;
        self.upload_remove(repository, &upload.id)?;
        Ok(())
    }

    /// Gives an upload up; whether it was there.
    pub fn upload_remove(&self, repository: &str, id: &str) -> Result<bool, Error> {
        let removed = self
            .db()
            .prepare_cached("DELETE FROM hosted_uploads WHERE id = ?1 AND repository = ?2")?
            .execute((id, repository))?;
        if removed > 0 {
            remove(&self.upload_path(id))?;
        }
        Ok(removed > 0)
    }

    /// Removes uploads that nobody has added to since yesterday, and files that
    /// belong to none; returns the bytes freed.
    pub(super) fn upload_sweep(&self) -> Result<u64, Error> {
        let now = SystemTime::now();
        let mut freed = 0;
        let dir = self.paths().uploads();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(err) => Err(err).at("list", &dir)?,
        };
        for entry in entries {
            let entry = entry.at("list", &dir)?;
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            let age = meta
                .modified()
                .ok()
                .and_then(|at| now.duration_since(at).ok());
            let id = entry.file_name().to_string_lossy().into_owned();
            if age.is_none_or(|age| age < PATIENCE) && self.is_known(&id)? {
                continue;
            }
            // A file is made after its row and removed after it.
            self.db()
                .prepare_cached("DELETE FROM hosted_uploads WHERE id = ?1")?
                .execute([&id])?;
            remove(&entry.path())?;
            freed += meta.len();
        }
        let oldest = super::super::now()
            .saturating_sub(i64::try_from(PATIENCE.as_nanos()).unwrap_or(i64::MAX));
        let mut stale = Vec::new();
        {
            let db = self.db();
            let mut statement =
                db.prepare_cached("SELECT id FROM hosted_uploads WHERE begun_at < ?1")?;
            let rows = statement.query_map([oldest], |row| row.get::<_, String>(0))?;
            for id in rows {
                stale.push(id?);
            }
        }
        for id in stale.iter().filter(|id| !self.upload_path(id).exists()) {
            self.db()
                .prepare_cached("DELETE FROM hosted_uploads WHERE id = ?1")?
                .execute([id])?;
        }
        Ok(freed)
    }

    fn has_upload(&self, repository: &str, id: &str) -> Result<bool, Error> {
        Ok(self
            .db()
            .prepare_cached("SELECT 1 FROM hosted_uploads WHERE id = ?1 AND repository = ?2")?
            .exists((id, repository))?)
    }

    fn is_known(&self, id: &str) -> Result<bool, Error> {
        Ok(self
            .db()
            .prepare_cached("SELECT 1 FROM hosted_uploads WHERE id = ?1")?
            .exists([id])?)
    }

    /// Where an upload lies. Its name is one that we gave, as its row is there.
    fn upload_path(&self, id: &str) -> PathBuf {
        self.paths().uploads().join(id)
    }
}

fn remove(path: &std::path::Path) -> Result<(), PathError> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
