//! Blobs: read with resumption, found, mounted.
//!
//! Source: OCI distribution-spec 1.1, "Pulling blobs", "Mounting a blob from another repository".

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Error;
use super::scope::Scopes;
use super::session::{Call, Session};
use crate::http::{Method, Response, Url};
use crate::oci::{Digest, Hasher};

/// How often a broken download is taken up again without a byte in between.
const RESUMPTIONS: u32 = 5;
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(300);
/// A connection that gave so many bytes was worth it: the count of breaks begins anew.
const PROGRESS: u64 = 64 << 10;
/// Fewest bytes that may come within the time that a server may be silent.
const SLOWEST: u64 = 4 << 10;

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
    /// Where the reader was when the connection broke last.
    broke_at: u64,
    /// How long it was waited for how many bytes, since both were looked at.
    waited: Duration,
    came: u64,
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
            let wanted = buffer.len().min(left);
            let began = Instant::now();
            match self.receive(&mut buffer[..wanted]) {
                Ok(count @ 1..) if self.is_fast_enough(began.elapsed(), count) => {
                    return Ok(count);
                }
                Ok(0) => self.broke("it ended early")?,
                Ok(_) => self.broke("it is too slow")?,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if is_final(&err) => return Err(err),
                Err(err) => self.broke(&err.to_string())?,
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let response = match &mut self.response {
            Some(response) => response,
            none => {
                let opened = self
                    .session
                    .open_blob(&self.path, self.digest, self.size, self.at);
                match opened {
                    Ok(response) => none.insert(response),
                    // What may pass is tried again, as what breaks later.
                    Err(Error::Broken { source, .. }) => return Err(source),
                    Err(err) => return Err(io::Error::other(err)),
                }
            }
        };
        response.body.read(buffer)
    }

    /// Whether bytes come at a pace at which they end some day. Only the time that
    /// is waited for the network counts.
    fn is_fast_enough(&mut self, waited: Duration, count: usize) -> bool {
        self.waited += waited;
        self.came += count as u64;
        if self.waited < self.session.http.idle() {
            return true;
        }
        let fast = self.came >= SLOWEST;
        (self.waited, self.came) = (Duration::ZERO, 0);
        fast
    }

    /// Prepares to take it up again, unless it broke too often without progress.
    fn broke(&mut self, why: &str) -> io::Result<()> {
        self.response = None;
        if self.at >= self.broke_at + PROGRESS {
            self.broken = 0;
        }
        self.broke_at = self.at;
        self.broken += 1;
        if self.broken > RESUMPTIONS || self.session.pauses.is_over() {
            return Err(io::Error::other(format!(
                "{}: the connection broke {} times at byte {}: {why}",
                self.what(),
                self.broken,
                self.at
            )));
        }
        self.session.pauses.pause(PAUSE * self.broken);
        Ok(())
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
            broke_at: at,
            waited: Duration::ZERO,
            came: 0,
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
        let mut response = self.check(self.open(&call)?, &call.what, false)?;
        let skip = match response.status {
            206 if range_start(response.header("content-range")) == Some(from) => 0,
            206 => {
                let why = format!("it was asked for bytes from {from} on and sent others");
                return Err(Error::protocol(&call.what, why));
            }
            // A server that knows no ranges sends everything again.
            _ => from,
        };
        let promised = response.length().map(|length| length + from - skip);
        if let Some(got) = promised.filter(|length| *length != size) {
            return Err(Error::WrongSize {
                what: call.what,
                want: size,
                got,
            });
        }
        let skipped = io::copy(&mut (&mut response.body).take(skip), &mut io::sink());
        skipped.map_err(|source| Error::Broken {
            what: call.what,
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
        let response = self.check(self.call(&call)?, &call.what, true)?;
        if response.status == 201 {
            return Ok(Mounted::Yes);
        }
        Self::location(&call, &response).map(Mounted::Upload)
    }

    /// Where an answer says that an upload goes on.
    pub(super) fn location(call: &Call<'_>, response: &Response) -> Result<Url, Error> {
        let location = response.header("location").ok_or_else(|| {
            Error::protocol(&call.what, "it gave no place for an upload".to_owned())
        })?;
        let next = call.url.join(location)?;
        if call.url.is_tls() && !next.is_tls() {
            let why = format!("it sends uploads to `{next}`, which is not encrypted");
            return Err(Error::protocol(&call.what, why));
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

/// Whether the registry itself refused to go on.
fn is_final(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
}

/// The first byte of `bytes FROM-TO/ALL`.
fn range_start(header: Option<&str>) -> Option<u64> {
    let range = header?.trim().strip_prefix("bytes")?.trim_start();
    range.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::range_start;

    #[test]
    fn ranges_have_a_start() {
        assert_eq!(range_start(Some("bytes 7-9/10")), Some(7));
        for header in ["", "bytes */10", "items 7-9/10", "bytes -7"] {
            assert_eq!(range_start(Some(header)), None, "{header}");
        }
    }
}
