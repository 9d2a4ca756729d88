//! Every registry that a command speaks to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blobs::Mounted;
use super::session::{Session, Warnings};
use super::{BlobReader, Credentials, Endpoint, Error, Fetched, Found, Keyring, Settings, Upload};
use crate::http::{Http, Options};
use crate::oci::{Descriptor, Digest, Hasher, Reference};

/// A client; shared by threads, its connections and tokens are used again.
#[derive(Debug)]
pub struct Client {
    pub(super) settings: Settings,
    keyring: Keyring,
    environment: BTreeMap<String, String>,
    sessions: Mutex<HashMap<Key, Arc<Session>>>,
    /// Who we are on a host for a repository; a helper is asked once.
    known: Mutex<HashMap<(String, String), Credentials>>,
    /// Mirrors that could not be reached.
    gone: Mutex<Vec<String>>,
    warnings: Warnings,
}

/// What a session is kept under: where it leads, for which registry, and who we are there.
type Key = (String, Option<String>, Option<String>);

/// A blob that may be somewhere else on the registry, so that it need not be sent.
#[derive(Debug)]
pub enum Target {
    /// The repository has it.
    There,
    /// The repository has it now, taken over from this one.
    Mounted(String),
    /// It must be sent.
    Send(Upload),
}

impl Client {
    /// A client with these settings and credentials. `environment` names proxies
    /// and certificates.
    pub fn new(
        settings: Settings,
        keyring: Keyring,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            settings,
            keyring,
            environment,
            sessions: Mutex::default(),
            known: Mutex::default(),
            gone: Mutex::default(),
            warnings: Warnings::default(),
        }
    }

    /// What registries, and mirrors that failed, had to say since the last time: each once.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.warnings))
    }

    /// The manifest or index that a reference names, from a mirror or the registry itself.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched, Error> {
        let name = name(reference);
        self.ask_sources(reference, |session| {
            session.manifest(reference.path(), &name)
        })
    }

    /// The manifest with this digest in the repository of a reference.
    pub fn manifest_by_digest(
        &self,
        reference: &Reference,
        digest: Digest,
    ) -> Result<Fetched, Error> {
        self.ask_sources(reference, |session| {
            session.manifest(reference.path(), &digest.to_string())
        })
    }

    /// Whether the registry has what the reference names.
    pub fn find_manifest(&self, reference: &Reference) -> Result<Option<Found>, Error> {
        self.origin(reference)?
            .find_manifest(reference.path(), &name(reference))
    }

    /// Opens a blob of the reference's repository.
    ///
    /// With `resumed`, the first bytes are there already and hashed.
    pub fn blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        resumed: Option<&(u64, Hasher)>,
    ) -> Result<BlobReader, Error> {
        self.ask_sources(reference, |session| {
            session.blob(reference.path(), blob.digest, blob.size, resumed.cloned())
        })
    }

    /// Opens a blob of the reference's repository from byte `from` on. Its content
    /// is not checked: that is for the caller, who has the bytes before.
    pub fn blob_from(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        from: u64,
    ) -> Result<BlobReader, Error> {
        self.ask_sources(reference, |session| {
            session.blob_part(reference.path(), blob.digest, blob.size, from)
        })
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, reference: &Reference, digest: Digest) -> Result<bool, Error> {
        self.origin(reference)?.has_blob(reference.path(), digest)
    }

    /// Prepares to send a blob: not needed when it is there, or can be taken over
    /// from `from`, another repository of the registry.
    pub fn begin_upload(
        &self,
        reference: &Reference,
        digest: Option<Digest>,
        from: Option<&str>,
    ) -> Result<Target, Error> {
        let session = self.origin(reference)?;
        let path = reference.path();
        if let Some(digest) = digest {
            if session.has_blob(path, digest)? {
                return Ok(Target::There);
            }
            if let Some(from) = from.filter(|from| *from != path) {
                match session.mount(path, digest, from) {
                    Ok(Mounted::Yes) => return Ok(Target::Mounted(from.to_owned())),
                    Ok(Mounted::Upload(location)) => {
                        return Ok(Target::Send(session.upload_at(path, location)));
                    }
                    // No right on the other repository, or it is gone: then it is sent.
                    Err(
                        Error::Denied { .. } | Error::Unauthorized { .. } | Error::NotFound { .. },
                    ) => {}
                    Err(err) => return Err(err),
                }
            }
        }
        session.upload(path).map(Target::Send)
    }

    /// Sends a manifest under the reference's tag, or under its digest.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.origin(reference)?
            .put_manifest(reference.path(), &name(reference), media_type, bytes)
            .map(drop)
    }

    /// The same; returns whether the registry took note of the manifest's
    /// subject, so that it will list it among the referrers.
    pub fn put_referrer(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        let origin = self.origin(reference)?;
        let subject = origin.put_manifest(reference.path(), &name(reference), media_type, bytes)?;
        Ok(subject.is_some())
    }

    /// Sends a manifest under its digest alone.
    pub fn put_manifest_by_digest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let digest = Digest::of(bytes).to_string();
        self.origin(reference)?
            .put_manifest(reference.path(), &digest, media_type, bytes)
            .map(drop)
    }

    /// Removes a tag or a manifest.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        self.origin(reference)?
            .delete_manifest(reference.path(), &name(reference))
    }

    /// Removes a blob from a repository.
    pub fn delete_blob(&self, reference: &Reference, digest: Digest) -> Result<(), Error> {
        self.origin(reference)?
            .delete_blob(reference.path(), digest)
    }

    /// Cuts every connection, so that whoever waits for a registry ends with an
    /// error. Nothing can be asked of this client any more.
    pub fn close(&self) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for session in sessions.values() {
            session.close();
        }
    }

    /// The tags of a repository.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        self.origin(reference)?.tags(reference.path())
    }

    /// The repositories of a registry, where it tells them.
    pub fn catalog(&self, host: &str) -> Result<Vec<String>, Error> {
        self.session(host, &self.settings.endpoint(host), "")?
            .catalog()
    }

    /// What refers to a manifest; `None` where the registry has no such list.
    pub fn referrers(
        &self,
        reference: &Reference,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        self.origin(reference)?
            .referrers(reference.path(), digest, artifact_type)
    }

    /// Checks credentials with a registry; returns what is to be kept of them:
    /// an identity token where the registry gives one.
    pub fn log_in(&self, host: &str, credentials: &Credentials) -> Result<Credentials, Error> {
        let endpoint = self.settings.endpoint(host);
        self.open(host, &endpoint, credentials.clone())?.log_in()
    }

    /// Asks each source of a reference's content until one has it. What the
    /// registry itself says is what the user is told.
    fn ask_sources<T>(
        &self,
        reference: &Reference,
        ask: impl Fn(&Arc<Session>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let host = reference.host();
        self.allow(host)?;
        let sources = self.settings.sources(host);
        let (origin, mirrors) = sources
            .split_last()
            .expect("the registry itself is among the sources");
        for mirror in mirrors {
            if lock(&self.gone).contains(&mirror.host) {
                continue;
            }
            let session = self.session(host, mirror, reference.path())?;
            match ask(&session) {
                Ok(found) => return Ok(found),
                Err(err) if err.is_not_found() => {}
                Err(err) => {
                    // It would be waited for with every further request.
                    if matches!(err, Error::Http(_)) {
                        lock(&self.gone).push(mirror.host.clone());
                    }
                    session.warn(&format!("this mirror of {host} is passed over: {err}"));
                }
            }
        }
        ask(&self.session(host, origin, reference.path())?)
    }

    /// The session with the registry of a reference, mirrors left out.
    pub(super) fn origin(&self, reference: &Reference) -> Result<Arc<Session>, Error> {
        let host = reference.host();
        self.allow(host)?;
        self.session(host, &self.settings.endpoint(host), reference.path())
    }

    pub(super) fn allow(&self, host: &str) -> Result<(), Error> {
        if self.settings.is_blocked(host) {
            return Err(Error::Blocked(host.to_owned()));
        }
        Ok(())
    }

    /// The session with an endpoint; credentials may differ by repository.
    pub(super) fn session(
        &self,
        host: &str,
        endpoint: &Endpoint,
        path: &str,
    ) -> Result<Arc<Session>, Error> {
        let own = if endpoint.mirror_of.is_some() {
            &endpoint.host
        } else {
            host
        };
        let credentials = self.credentials(own, path)?;
        let user = match &credentials {
            Credentials::Anonymous => None,
            other => Some(format!("{path} {other:?}")),
        };
        let key = (endpoint.base(), endpoint.mirror_of.clone(), user);
        if let Some(known) = lock(&self.sessions).get(&key) {
            return Ok(Arc::clone(known));
        }
        let session = Arc::new(self.open(own, endpoint, credentials)?);
        Ok(Arc::clone(
            lock(&self.sessions).entry(key).or_insert(session),
        ))
    }

    fn credentials(&self, host: &str, path: &str) -> Result<Credentials, Error> {
        let key = (host.to_owned(), path.to_owned());
        if let Some(known) = lock(&self.known).get(&key) {
            return Ok(known.clone());
        }
        let found = self.keyring.find(host, path)?;
        lock(&self.known).insert(key, found.clone());
        Ok(found)
    }

    fn open(
        &self,
        host: &str,
        endpoint: &Endpoint,
        credentials: Credentials,
    ) -> Result<Session, Error> {
        let http = Http::new(&Options {
            environment: self.environment.clone(),
            roots: endpoint.roots.clone(),
            identity: endpoint.identity.clone(),
            skip_verification: endpoint.skip_tls_verification,
            idle: endpoint.idle,
        })?;
        let headers = self.keyring.config()?.headers();
        Ok(Session::new(
            host,
            endpoint.clone(),
            http,
            credentials,
            headers,
            Arc::clone(&self.warnings),
        ))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of a reference, else its tag.
fn name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    }
}
