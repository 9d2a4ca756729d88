//! What comes from servers, as steps of the graph and as contexts.
//!
//! The key of a download is its content: name, digest and date. What a server said
//! about a version (`ETag`, `Last-Modified`) is kept beside its result, so that the
//! next build asks whether it still is the newest, and moves nothing if so. With
//! a checksum nobody is asked. The key of a repository is its commit, which the
//! server is asked for each time.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::graph::{HttpOp, Op, Vertex};
use super::key::{self, Definition};
use crate::fs::{At, Lock, PathError};
use crate::oci::{CacheKey, Digest, Hasher};
use crate::remote::git::{Resolved, Source};
use crate::remote::http::{Answer, Validators};
use crate::remote::{self, Remote};
use crate::snapshot::{self, Active};
use crate::store::{self, CacheRecord, KeyPart, SnapshotId, Store};

/// Why something does not come from a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The server, or what it sent.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl FetchError {
    pub(super) fn is_canceled(&self) -> bool {
        matches!(self, Self::Remote(remote::Error::Canceled))
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Remote(err) => err.hint(),
            _ => None,
        }
    }
}

/// Fetches for one build.
pub(super) struct Fetcher<'a> {
    store: &'a Store,
    remote: &'a Remote<'a>,
    /// Commits that were looked up, by the step's line.
    resolved: Mutex<HashMap<Digest, Resolved>>,
}

/// A result, and the whole definition that it is kept under.
pub(super) struct Fetched {
    pub(super) result: SnapshotId,
    pub(super) definition: Definition,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(store: &'a Store, remote: &'a Remote<'a>) -> Self {
        Self {
            store,
            remote,
            resolved: Mutex::default(),
        }
    }

    /// Where everything is kept.
    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// The definition of a step from a server, where it can be known without its
    /// bytes. With `fresh`, what is remembered does not count.
    pub(super) fn look_up(
        &self,
        vertex: &Vertex,
        fresh: bool,
    ) -> Result<Option<Definition>, FetchError> {
        let definition = Definition::of(vertex, &[]);
        match &vertex.op {
            Op::Http(op) if op.checksum.is_some() => Ok(Some(definition)),
            Op::Http(op) if !fresh => self.ask(op, definition),
            Op::Git(source) => {
                let resolved = self.resolve(source, definition.line)?;
                Ok(Some(git_definition(definition, source, &resolved)))
            }
            _ => Ok(None),
        }
    }

    /// Fetches. A result with the same content is taken if there is one, unless it must be `fresh`.
    pub(super) fn run(&self, vertex: &Vertex, fresh: bool) -> Result<Fetched, FetchError> {
        let definition = Definition::of(vertex, &[]);
        match &vertex.op {
            Op::Http(op) => self.download(vertex, op, definition, fresh),
            Op::Git(source) => {
                let resolved = self.resolve(source, definition.line)?;
                let definition = git_definition(definition, source, &resolved);
                let result = self.check_out(source, &resolved)?;
                Ok(Fetched { result, definition })
            }
            // The plan asks for nothing else.
            _ => unreachable!("only downloads and repositories are fetched"),
        }
    }

    /// The tree of something that is a context and no step of the graph: from
    /// the cache, or fetched now. It stays as long as this process.
    pub(super) fn tree(&self, op: Op, text: String, fresh: bool) -> Result<PathBuf, FetchError> {
        let vertex = Vertex {
            parent: None,
            op,
            span: None,
            name: String::new(),
            text,
        };
        let line = Definition::of(&vertex, &[]).line;
        let locks = self.store.paths().locks();
        let _turn = Lock::transient(&locks.join(format!("step-{}", line.hex())))?;
        let known = self.look_up(&vertex, fresh)?;
        if let Some(definition) = known.filter(|_| !fresh)
            && let Some(record) = self.store.cache_get(definition.key(&vertex.op))?
            && let Some(result) = record.result
            && self.store.pin(result)?
        {
            return Ok(snapshot::layer_dir(self.store, result));
        }
        let Fetched { result, definition } = self.run(&vertex, fresh)?;
        self.store.pin(result)?;
        let key = definition.key(&vertex.op);
        self.store.cache_replace(&CacheRecord {
            key,
            line,
            result: Some(result),
            parent: None,
            description: vertex.text.clone(),
            parts: definition.parts,
        })?;
        Ok(snapshot::layer_dir(self.store, result))
    }

    fn resolve(&self, source: &Source, line: Digest) -> Result<Resolved, FetchError> {
        let known = |found: &Mutex<HashMap<_, _>>| {
            let found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get(&line).cloned()
        };
        if let Some(resolved) = known(&self.resolved) {
            return Ok(resolved);
        }
        let resolved: Resolved = self.remote.git_resolve(source)?;
        let mut all = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(line, resolved.clone());
        Ok(resolved)
    }

    fn check_out(&self, source: &Source, resolved: &Resolved) -> Result<SnapshotId, FetchError> {
        let active = Active::begin(self.store, None)?;
        let scratch = self.store.temp_dir()?;
        let repositories = self.store.paths().repositories();
        let target = active.fs();
        let bytes =
            self.remote
                .git_tree(source, resolved, &repositories, scratch.path(), &target)?;
        Ok(active.commit(bytes, None, None)?.id)
    }

    /// Asks whether the version that is there still is the newest.
    fn ask(&self, op: &HttpOp, definition: Definition) -> Result<Option<Definition>, FetchError> {
        let Some(record) = self.store.cache_get(validators_key(op))? else {
            return Ok(None);
        };
        let value = |name| key::value(&record.parts, name).map(str::to_owned);
        let validators = Validators {
            etag: value("etag"),
            last_modified: value("last-modified"),
        };
        let (Some(content), Some(mtime), false) =
            (value("content"), value("mtime"), validators.is_empty())
        else {
            return Ok(None);
        };
        match self.remote.get(&op.url, Some(&validators))? {
            Answer::NotModified => Ok(Some(
                definition.with("content", &content).with("mtime", &mtime),
            )),
            Answer::File(_) => Ok(None),
        }
    }

    fn download(
        &self,
        vertex: &Vertex,
        op: &HttpOp,
        definition: Definition,
        fresh: bool,
    ) -> Result<Fetched, FetchError> {
        let active = Active::begin(self.store, None)?;
        let path = active.fs().join(&op.name);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .at("create", &path)?;
        let incoming = match self.remote.get(&op.url, None)? {
            Answer::File(incoming) => *incoming,
            // Without validators no server may say this.
            Answer::NotModified => {
                return Err(remote::Error::Status {
                    url: op.url.to_string(),
                    status: 304,
                }
                .into());
            }
        };
        let (validators, modified) = (incoming.validators.clone(), incoming.modified);
        let downloaded =
            self.remote
                .download(incoming, op.checksum.as_ref(), (&mut file, &path))?;
        // The umask may have taken something away, and a date is part of the file.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .at("change the mode of", &path)?;
        let seconds = u64::try_from(modified.unwrap_or(0)).unwrap_or(0);
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .at("set the time of", &path)?;
        drop(file);
        let mtime = modified.map_or_else(String::new, |seconds| seconds.to_string());
        let definition = if op.checksum.is_some() {
            definition
        } else {
            definition
                .with("content", &downloaded.digest)
                .with("mtime", &mtime)
        };
        let known = if fresh {
            None
        } else {
            self.store.cache_get(definition.key(&vertex.op))?
        };
        let result = match known.and_then(|record| record.result) {
            Some(result) => result,
            None => active.commit(downloaded.bytes, None, None)?.id,
        };
        self.keep_validators(op, &validators, downloaded.digest, &mtime, result)?;
        Ok(Fetched { result, definition })
    }

    fn keep_validators(
        &self,
        op: &HttpOp,
        validators: &Validators,
        content: Digest,
        mtime: &str,
        result: SnapshotId,
    ) -> Result<(), FetchError> {
        if validators.is_empty() {
            return Ok(());
        }
        let pairs = [
            ("etag", validators.etag.clone()),
            ("last-modified", validators.last_modified.clone()),
            ("content", Some(content.to_string())),
            ("mtime", Some(mtime.to_owned())),
        ];
        let part = |(name, value): (&str, Option<String>)| {
            Some(KeyPart {
                name: name.to_owned(),
                value: value?,
            })
        };
        let key = validators_key(op);
        self.store.cache_replace(&CacheRecord {
            key,
            line: key.0,
            result: Some(result),
            parent: None,
            description: format!("download {}", op.url),
            parts: pairs.into_iter().filter_map(part).collect(),
        })?;
        Ok(())
    }
}

fn git_definition(definition: Definition, source: &Source, resolved: &Resolved) -> Definition {
    let parts = source.parts(resolved);
    parts
        .into_iter()
        .fold(definition, |definition, (name, value)| {
            definition.with(name, &value)
        })
}

/// Where it is kept what a server said about a file.
fn validators_key(op: &HttpOp) -> CacheKey {
    let mut hasher = Hasher::new();
    hasher.part(b"rbuild http validators 1");
    hasher.part(op.url.to_string().as_bytes());
    hasher.part(op.name.as_bytes());
    CacheKey(hasher.finish())
}
