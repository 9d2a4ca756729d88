//! Blobs: read with resumption, found, mounted.
//!
//! Source: OCI distribution-spec 1.1, "Pulling blobs", "Mounting a blob from another repository".

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::scope::Scopes;
use super::session::{Call, Session};
use crate::http::{Method, Response, Url};
use crate::oci::{Digest, Hasher};

/// How often a broken download is taken up again without a byte in between.
const RESUMPTIONS: u32 = 5;
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(300);
/// Most redirects, to where the bytes really are.
const REDIRECTS: u32 = 10;

/// A blob as it arrives. Its end is an error when its content is not what the
/// digest says; a connection that breaks is taken up where it ended.
#[derive(Debug)]
pub struct BlobReader {
    session: Arc<Session>,
    path: String,
    digest: Digest,
    size: u64,
    at: u64,
    hasher: Option<Hasher>,
    response: Option<Response>,
    broken: u32,
}

impl BlobReader {
    /// How many bytes came over the network or were skipped so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn what(&self) -> String {
        self.session.shown(&self.path, &self.digest.to_string())
    }

    /// One more piece, or 0 at the end of what was promised.
    fn piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(0);
            }
            if self.response.is_none() {
                let (session, path) = (Arc::clone(&self.session), self.path.clone());
                let opened = session.open_blob(&path, self.digest, self.size, self.at);
                self.response = Some(opened.map_err(io::Error::other)?);
            }
            let wanted = buffer.len().min(left);
            let body = self.response.as_mut().map(|response| &mut response.body);
            match body.map(|body| body.read(&mut buffer[..wanted])) {
                Some(Ok(count @ 1..)) => {
                    self.broken = 0;
                    return Ok(count);
                }
                Some(Err(err)) if err.kind() == io::ErrorKind::Interrupted => {}
                // An early end is a broken connection too.
                end => {
                    self.response = None;
                    self.broken += 1;
                    if self.broken > RESUMPTIONS {
                        let why = match end {
                            Some(Err(err)) => err.to_string(),
                            _ => "it ended early".to_owned(),
                        };
                        return Err(io::Error::other(format!(
                            "{}: the connection broke {} times at byte {}: {why}",
                            self.what(),
                            self.broken,
                            self.at
                        )));
                    }
                    std::thread::sleep(PAUSE * self.broken);
                }
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.piece(buffer)?;
        if count > 0 {
            self.at += count as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        let Some(hasher) = self.hasher.take() else {
            return Ok(0);
        };
        let got = hasher.finish();
        if got != self.digest {
            return Err(io::Error::other(Error::WrongDigest {
                what: self.what(),
                want: self.digest,
                got,
            }));
        }
        Ok(0)
    }
}

fn broke(what: &str, why: String) -> Error {
    Error::Protocol {
        what: what.to_owned(),
        why,
    }
}

/// What became of a request to mount a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mounted {
    /// It is there now.
    Yes,
    /// The registry opened an upload instead.
    Upload(Url),
}

impl Session {
    fn blob_call(
        &self,
        method: Method,
        path: &str,
        digest: Digest,
    ) -> Result<Call<'static>, Error> {
        Ok(Call {
            method,
            url: self.url(&format!("/v2/{path}/blobs/{digest}"))?,
            headers: Vec::new(),
            scopes: Scopes::repository(path, &["pull"]),
            what: self.shown(path, &digest.to_string()),
        })
    }

    /// Opens a blob from byte `from` on. `hasher` has the bytes before.
    pub(super) fn blob(
        self: &Arc<Self>,
        path: &str,
        digest: Digest,
        size: u64,
        resumed: Option<(u64, Hasher)>,
    ) -> Result<BlobReader, Error> {
        let (at, hasher) = resumed.unwrap_or_else(|| (0, Hasher::new()));
        let response = if at < size {
            Some(self.open_blob(path, digest, size, at)?)
        } else {
            None
        };
        Ok(BlobReader {
            session: Arc::clone(self),
            path: path.to_owned(),
            digest,
            size,
            at,
            hasher: Some(hasher),
            response,
            broken: 0,
        })
    }

    /// Opens a blob from byte `from` on; what comes is not checked.
    pub(super) fn blob_part(
        self: &Arc<Self>,
        path: &str,
        digest: Digest,
        size: u64,
        from: u64,
    ) -> Result<BlobReader, Error> {
        let mut reader = self.blob(path, digest, size, Some((from, Hasher::new())))?;
        reader.hasher = None;
        Ok(reader)
    }

    /// Asks for the bytes from `from` on, redirects followed.
    fn open_blob(
        &self,
        path: &str,
        digest: Digest,
        size: u64,
        from: u64,
    ) -> Result<Response, Error> {
        let mut call = self.blob_call(Method::Get, path, digest)?;
        if from > 0 {
            call.headers
                .push(("Range", format!("bytes={from}-{}", size - 1)));
        }
        let mut response = self.call(&call)?;
        for _ in 0..REDIRECTS {
            let Some(location) = response.redirect() else {
                break;
            };
            let next = call.url.join(location)?;
            if call.url.is_tls() && !next.is_tls() {
                return Err(broke(
                    &call.what,
                    format!("it redirects to `{next}`, which is not encrypted"),
                ));
            }
            call.url = next;
            response = self.call(&call)?;
        }
        if response.redirect().is_some() {
            return Err(broke(
                &call.what,
                format!("more than {REDIRECTS} redirects"),
            ));
        }
        let mut response = self.check(response, &call.what, false)?;
        let skip = if response.status == 206 { 0 } else { from };
        let promised = response.length().map(|length| length + from - skip);
        if promised.is_some_and(|length| length != size) && response.status != 206 {
            return Err(Error::WrongSize {
                what: call.what,
                want: size,
                got: promised.unwrap_or_default(),
            });
        }
        // A server that knows no ranges sends everything again.
        let skipped = io::copy(&mut (&mut response.body).take(skip), &mut io::sink());
        skipped.map_err(|source| Error::Local {
            what: format!("{}: the connection broke", call.what),
            source,
        })?;
        Ok(response)
    }

    /// Whether the repository has the blob.
    pub(super) fn has_blob(&self, path: &str, digest: Digest) -> Result<bool, Error> {
        let call = self.blob_call(Method::Head, path, digest)?;
        let response = self.call(&call)?;
        match response.status {
            404 => Ok(false),
            // Some send a client elsewhere even to look.
            300..400 => Ok(true),
            _ => self.check(response, &call.what, false).map(|_| true),
        }
    }

    /// Asks to take the blob over from another repository of this registry.
    pub(super) fn mount(&self, path: &str, digest: Digest, from: &str) -> Result<Mounted, Error> {
        let url = self
            .url(&format!("/v2/{path}/blobs/uploads/"))?
            .with_query("mount", &digest.to_string())
            .with_query("from", from);
        let call = Call {
            method: Method::Post,
            url,
            headers: Vec::new(),
            scopes: Scopes::repository(path, &["pull", "push"]).with(from, &["pull"]),
            what: self.shown(path, &digest.to_string()),
        };
        let response = self.check(self.send(&call, None)?, &call.what, true)?;
        if response.status == 201 {
            return Ok(Mounted::Yes);
        }
        Self::location(&call, &response).map(Mounted::Upload)
    }

    /// Where an answer says that an upload goes on.
    pub(super) fn location(call: &Call<'_>, response: &Response) -> Result<Url, Error> {
        let location = response
            .header("location")
            .ok_or_else(|| broke(&call.what, "it gave no place for an upload".to_owned()))?;
        let next = call.url.join(location)?;
        if call.url.is_tls() && !next.is_tls() {
            return Err(broke(
                &call.what,
                format!("it sends uploads to `{next}`, which is not encrypted"),
            ));
        }
        Ok(next)
    }

    /// Removes a blob from a repository.
    pub(super) fn delete_blob(&self, path: &str, digest: Digest) -> Result<(), Error> {
        let mut call = self.blob_call(Method::Delete, path, digest)?;
        call.scopes = Scopes::repository(path, &["pull", "delete"]);
        self.check(self.call(&call)?, &call.what, true).map(drop)
    }
}
