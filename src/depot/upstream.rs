//! What is missing comes from another registry, and stays.
//!
//! A tag is compared with the upstream registry at most once a minute; when that
//! one does not answer, what is here counts. What was pushed here is never
//! replaced. A blob is fetched at full speed by a thread of its own, once for all
//! who want it; they read it while it grows.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::document::Document;
use super::refusal::{Code, Refusal};
use crate::fs::Lock;
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{Client, Fetched};
use crate::store::{HostedManifest, Store};

/// How long a tag counts without being compared, in nanoseconds.
const FRESH: i64 = 60 * 1_000_000_000;
/// Most blobs that are fetched at once.
const AT_ONCE: usize = 32;
/// Most questions at once: two registries that ask each other come to an end.
const QUESTIONS: usize = 64;
/// How much is taken from the network at a time.
const PIECE: usize = 256 << 10;

/// Another registry that has what we lack.
pub struct Upstream {
    host: String,
    client: Arc<Client>,
    fetches: Arc<Fetches>,
    questions: Arc<()>,
}

type Fetches = Mutex<HashMap<(String, Digest), Arc<Fetch>>>;

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.host)
    }
}

impl Upstream {
    /// The registry `host`, asked by `client`.
    pub fn new(host: String, client: Client) -> Self {
        Self {
            host,
            client: Arc::new(client),
            fetches: Arc::default(),
            questions: Arc::default(),
        }
    }

    /// The right to ask a question, for as long as it is held.
    fn question(&self) -> Result<Arc<()>, Refusal> {
        let question = Arc::clone(&self.questions);
        if Arc::strong_count(&question) > QUESTIONS {
            return Err(Refusal::new(Code::Busy, "too much is being asked for"));
        }
        Ok(question)
    }

    fn reference(&self, repository: &str) -> Option<Reference> {
        format!("{}/{repository}", self.host).parse().ok()
    }

    /// The manifest that a tag points to; `own` is what we have and when it was compared.
    pub(super) fn manifest_by_tag(
        &self,
        store: &Store,
        repository: &str,
        tag: &str,
        own: Option<(HostedManifest, Option<i64>)>,
    ) -> Result<Option<HostedManifest>, Refusal> {
        let own = match own {
            Some((manifest, None)) => return Ok(Some(manifest)),
            Some((manifest, Some(at))) if now().saturating_sub(at) < FRESH => {
                return Ok(Some(manifest));
            }
            other => other.map(|(manifest, _)| manifest),
        };
        let Some(reference) = self.reference(repository).map(|r| r.with_tag(tag)) else {
            return Ok(own);
        };
        let _question = self.question()?;
        if let Some(manifest) = &own {
            match self.client.find_manifest(&reference) {
                Ok(Some(found)) if found.digest == Some(manifest.digest) => {
                    store.hosted_tag_checked(repository, tag)?;
                    return Ok(own);
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                // Better what was true than nothing.
                Err(_) => return Ok(own),
            }
        }
        match self.client.manifest(&reference) {
            Ok(fetched) => keep(store, repository, fetched, &[tag.to_owned()]).map(Some),
            Err(err) if own.is_some() && !err.is_not_found() => Ok(own),
            Err(err) => refused(&err),
        }
    }

    /// The manifest with a digest, which we lack.
    pub(super) fn manifest_by_digest(
        &self,
        store: &Store,
        repository: &str,
        digest: Digest,
    ) -> Result<Option<HostedManifest>, Refusal> {
        let Some(reference) = self.reference(repository) else {
            return Ok(None);
        };
        let _question = self.question()?;
        match self.client.manifest_by_digest(&reference, digest) {
            Ok(fetched) => keep(store, repository, fetched, &[]).map(Some),
            Err(err) => refused(&err),
        }
    }

    /// The tags that the upstream registry tells.
    pub(super) fn tags(&self, repository: &str) -> Vec<String> {
        let tags = self
            .reference(repository)
            .and_then(|reference| self.client.tags(&reference).ok());
        let good = |tag: &String| super::route::is_tag(tag);
        tags.into_iter().flatten().filter(good).collect()
    }

    /// What refers to a manifest there.
    pub(super) fn referrers(
        &self,
        repository: &str,
        subject: Digest,
        kind: Option<&str>,
    ) -> Vec<Value> {
        let found = self
            .reference(repository)
            .and_then(|reference| self.client.referrers(&reference, subject, kind).ok());
        let found = found.flatten().into_iter().flatten();
        found
            .filter_map(|one| serde_json::to_value(one).ok())
            .collect()
    }

    /// A blob that a manifest of the repository names and we lack, from its
    /// beginning on.
    pub(super) fn blob(
        &self,
        store: &Arc<Store>,
        repository: &str,
        digest: Digest,
        size: u64,
    ) -> Result<Box<dyn Read + Send>, Refusal> {
        let reference = self
            .reference(repository)
            .ok_or_else(|| Refusal::no_blob(digest))?;
        let key = (repository.to_owned(), digest);
        let fetch = {
            let mut fetches = lock(&self.fetches);
            if let Some(running) = fetches.get(&key) {
                Arc::clone(running)
            } else {
                if fetches.len() >= AT_ONCE {
                    return Err(Refusal::new(Code::Busy, "too much is being fetched"));
                }
                let fetch = Arc::new(Fetch::default());
                fetches.insert(key.clone(), Arc::clone(&fetch));
                let job = Job {
                    store: Arc::clone(store),
                    client: Arc::clone(&self.client),
                    fetches: Arc::clone(&self.fetches),
                    fetch: Arc::clone(&fetch),
                    reference,
                    key,
                    size,
                };
                std::thread::spawn(move || job.run());
                fetch
            }
        };
        match fetch.begun() {
            Ok(path) => {
                let file = File::open(&path)
                    .or_else(|_| File::open(store.blob_path(digest)))
                    .map_err(|err| failed(&err.to_string()))?;
                Ok(Box::new(Follower { fetch, file, at: 0 }))
            }
            Err(why) => Err(failed(&why)),
        }
    }
}

/// Stores what came from upstream.
fn keep(
    store: &Store,
    repository: &str,
    fetched: Fetched,
    tags: &[String],
) -> Result<HostedManifest, Refusal> {
    let document = Document::read(Some(&fetched.media_type), &fetched.bytes)
        .map_err(|why| {
            let message = "the upstream registry has something that is no image";
            Refusal::new(Code::UpstreamFailed, message).noted(why)
        })?
        .sparse();
    let row = document.row(fetched.digest, fetched.bytes);
    store.hosted_manifest_put(repository, &row, &document.parts, tags, true)?;
    Ok(row)
}

/// Nothing, when the upstream registry says that it has nothing.
fn refused<T>(err: &crate::registry::Error) -> Result<Option<T>, Refusal> {
    use crate::registry::Error;
    match err {
        // A registry that does not tell what exists denies it instead.
        Error::NotFound { .. } | Error::Denied { .. } | Error::Unauthorized { .. } => Ok(None),
        other => Err(failed(&other.to_string())),
    }
}

fn failed(why: &str) -> Refusal {
    Refusal::new(Code::UpstreamFailed, "the upstream registry failed").noted(why)
}

fn now() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a blob has come.
#[derive(Debug, Default)]
struct Fetch {
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    path: Option<PathBuf>,
    length: u64,
    end: Option<Result<(), String>>,
}

impl Fetch {
    fn grew(&self, path: &Path, length: u64) {
        let mut state = lock(&self.state);
        state.path = Some(path.to_owned());
        state.length = length;
        self.changed.notify_all();
    }

    fn ended(&self, end: Result<(), String>) {
        lock(&self.state).end = Some(end);
        self.changed.notify_all();
    }

    /// Waits for the first bytes; where they are.
    fn begun(&self) -> Result<PathBuf, String> {
        let waiting = |state: &mut Progress| state.path.is_none() && state.end.is_none();
        let state = self.changed.wait_while(lock(&self.state), waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match (&state.end, &state.path) {
            (Some(Err(why)), _) => Err(why.clone()),
            (_, Some(path)) => Ok(path.clone()),
            (_, None) => Err("nothing came".to_owned()),
        }
    }

    /// Waits until there is more than `at` bytes or no more to come; how many
    /// there are. The last piece counts only when all was verified.
    fn more(&self, at: u64) -> io::Result<u64> {
        let waiting = |state: &mut Progress| state.length <= at && state.end.is_none();
        let state = self.changed.wait_while(lock(&self.state), waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match &state.end {
            Some(Err(why)) => Err(io::Error::other(why.clone())),
            _ => Ok(state.length),
        }
    }
}

/// Reads a blob while it grows.
struct Follower {
    fetch: Arc<Fetch>,
    file: File,
    at: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fetch.more(self.at)?;
        let left = usize::try_from(length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Fetches one blob.
struct Job {
    store: Arc<Store>,
    client: Arc<Client>,
    fetches: Arc<Fetches>,
    fetch: Arc<Fetch>,
    reference: Reference,
    key: (String, Digest),
    size: u64,
}

impl Drop for Job {
    fn drop(&mut self) {
        lock(&self.fetches).remove(&self.key);
        // Whoever waits must not wait for a thread that has panicked.
        let mut state = lock(&self.fetch.state);
        if state.end.is_none() {
            state.end = Some(Err("the fetch was given up".to_owned()));
        }
        self.fetch.changed.notify_all();
    }
}

impl Job {
    fn run(self) {
        let end = self.bring();
        self.fetch.ended(end);
    }

    fn bring(&self) -> Result<(), String> {
        let (repository, digest) = (&self.key.0, self.key.1);
        let text = |err: &dyn fmt::Display| err.to_string();
        // Other processes of this data root that pull the same wait for us, or we for them.
        let name = format!("blob-{}", digest.hex());
        let _turn =
            Lock::transient(&self.store.paths().locks().join(name)).map_err(|err| text(&err))?;
        let store = &self.store;
        let is_here = store.blob_exists(digest);
        // Only what the upstream registry would give is given in its name.
        if is_here
            && (store
                .hosted_blob(repository, digest)
                .map_err(|err| text(&err))?
                || self
                    .client
                    .has_blob(&self.reference, digest)
                    .map_err(|err| text(&err))?)
            && store
                .hosted_blob_adopt(repository, digest)
                .map_err(|err| text(&err))?
        {
            self.fetch.grew(&store.blob_path(digest), self.size);
            return Ok(());
        }
        let blob = Descriptor::new("application/octet-stream", digest, self.size);
        let mut source = self
            .client
            .blob(&self.reference, &blob, None)
            .map_err(|err| text(&err))?;
        let mut writer = store.blob_writer().map_err(|err| text(&err))?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = source.read(&mut buffer).map_err(|err| text(&err))?;
            if count == 0 {
                break;
            }
            writer
                .write_all(&buffer[..count])
                .and_then(|()| writer.flush())
                .map_err(|err| text(&err))?;
            // The last byte is not told before all of them were verified.
            let told = writer.len().min(self.size.saturating_sub(1));
            self.fetch.grew(writer.path(), told);
        }
        // Those who come now must find the file under its name.
        self.store
            .hosted_blob_put(repository, writer, digest)
            .map_err(|err| text(&err))?;
        self.fetch.grew(&store.blob_path(digest), self.size);
        Ok(())
    }
}
