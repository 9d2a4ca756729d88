//! Sending blobs: opened, sent in one stream, taken up again after a break, closed by digest.
//!
//! Source: OCI distribution-spec 1.1, "Pushing blobs".

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::scope::Scopes;
use super::session::{Call, Outgoing, Session};
use crate::http::{Method, Url};
use crate::oci::Digest;

/// How often a broken upload is taken up again, or begun anew, without progress in between.
const RESUMPTIONS: u32 = 5;
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(300);
/// A blob of at most this size goes in one request.
const SMALL: u64 = 64 << 10;

/// Opens what is sent, from a byte on. Its length is told where it is known.
pub type UploadSource<'a> = dyn FnMut(u64) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> + 'a;

/// Is told how many bytes have gone so far.
pub type Tell<'a> = dyn Fn(u64) + Sync + 'a;

/// A reader that tells how far it is.
struct Counted<'a> {
    reader: Box<dyn Read + Send>,
    at: u64,
    tell: &'a Tell<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at += count as u64;
        (self.tell)(self.at);
        Ok(count)
    }
}

/// A blob on its way. Dropped unfinished, the registry forgets it in its own time.
#[derive(Debug)]
pub struct Upload {
    session: Arc<Session>,
    path: String,
    location: Url,
    /// How many bytes the registry has.
    at: u64,
}

impl Session {
    fn upload_call(&self, method: Method, path: &str, url: Url) -> Call<'static> {
        Call {
            method,
            url,
            headers: Vec::new(),
            scopes: Scopes::repository(path, &["pull", "push"]),
            what: format!("{}/{path}", self.host),
        }
    }

    /// Opens an upload.
    pub(super) fn upload(self: &Arc<Self>, path: &str) -> Result<Upload, Error> {
        let call = self.upload_call(
            Method::Post,
            path,
            self.url(&format!("/v2/{path}/blobs/uploads/"))?,
        );
        let response = self.check(self.call(&call)?, &call.what, true)?;
        Ok(self.upload_at(path, Self::location(&call, &response)?))
    }

    /// An upload that the registry opened already.
    pub(super) fn upload_at(self: &Arc<Self>, path: &str, location: Url) -> Upload {
        Upload {
            session: Arc::clone(self),
            path: path.to_owned(),
            location,
            at: 0,
        }
    }
}

impl Upload {
    /// Sends everything that `source` gives and closes the upload under `digest`.
    /// What breaks is taken up where the registry is, or begun anew where it forgot.
    ///
    /// `size` is the whole size, where it is known.
    pub fn send(
        mut self,
        source: &mut UploadSource<'_>,
        size: Option<u64>,
        digest: Digest,
        tell: &Tell<'_>,
    ) -> Result<(), Error> {
        let path = self.path.clone();
        let session = Arc::clone(&self.session);
        self.until_done(
            // The last answer alone may be what did not come.
            &mut || session.has_blob(&path, digest),
            &mut |upload| upload.attempt(source, size, digest, tell),
        )
    }

    /// Sends everything that `source` gives, its length and digest unknown;
    /// [`finish`](Self::finish) closes the upload.
    pub fn append(&mut self, source: &mut UploadSource<'_>, tell: &Tell<'_>) -> Result<(), Error> {
        self.until_done(&mut || Ok(false), &mut |upload| upload.patch(source, tell))
    }

    /// Closes an upload that is whole: from here on the blob is there. `false` when the
    /// registry lost it on the way, so that it must be sent anew.
    pub fn finish(mut self, digest: Digest) -> Result<bool, Error> {
        let whole = self.at;
        let mut broken = 0;
        loop {
            let error = match self.close(digest) {
                Ok(()) => return Ok(true),
                Err(err) if err.is_broken() || is_lost(&err) => err,
                Err(err) => return Err(err),
            };
            broken += 1;
            if broken > RESUMPTIONS || self.session.pauses.is_over() {
                return Err(error);
            }
            self.session.pauses.pause(PAUSE * broken);
            if self.session.has_blob(&self.path, digest)? {
                return Ok(true);
            }
            self.take_up()?;
            if self.at != whole {
                return Ok(false);
            }
        }
    }

    /// Does `work` until it works, the upload taken up again in between, unless `is_done`
    /// says that all is there.
    fn until_done(
        &mut self,
        is_done: &mut dyn FnMut() -> Result<bool, Error>,
        work: &mut dyn FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut broken = 0;
        loop {
            let before = self.at;
            let error = match work(self) {
                Ok(()) => return Ok(()),
                Err(err) if err.is_broken() || is_lost(&err) => err,
                Err(err) => return Err(err),
            };
            broken += 1;
            if broken > RESUMPTIONS || self.session.pauses.is_over() {
                return Err(error);
            }
            self.session.pauses.pause(PAUSE * broken);
            if is_done()? {
                return Ok(());
            }
            self.take_up()?;
            if self.at > before {
                broken = 0;
            }
        }
    }

    fn attempt(
        &mut self,
        source: &mut UploadSource<'_>,
        size: Option<u64>,
        digest: Digest,
        tell: &Tell<'_>,
    ) -> Result<(), Error> {
        if self.at == 0 && size.is_some_and(|size| size <= SMALL) {
            return self.send_small(source, digest);
        }
        if size.is_none_or(|size| self.at < size) {
            self.patch(source, tell)?;
        }
        self.close(digest)
    }

    fn send_small(&self, source: &mut UploadSource<'_>, digest: Digest) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let read = source(0).and_then(|(mut reader, _)| reader.read_to_end(&mut bytes));
        read.map_err(|source| self.unreadable(source))?;
        let url = self.location.with_query("digest", &digest.to_string());
        let mut call = self.session.upload_call(Method::Put, &self.path, url);
        call.headers
            .push(("Content-Type", "application/octet-stream".to_owned()));
        let response = self
            .session
            .send(&call, Some(&mut || Ok(Outgoing::Bytes(&bytes))))?;
        self.session.check(response, &call.what, true).map(drop)
    }

    /// Finds out where the registry is; one that knows nothing of the upload any
    /// more, or cannot go on with it, gets a new one.
    fn take_up(&mut self) -> Result<(), Error> {
        match self.ask_state() {
            Ok(()) => Ok(()),
            Err(
                err @ (Error::Unauthorized { .. } | Error::Denied { .. } | Error::TooMany { .. }),
            ) => Err(err),
            Err(_) => {
                *self = self.session.upload(&self.path)?;
                Ok(())
            }
        }
    }

    fn patch(&mut self, source: &mut UploadSource<'_>, tell: &Tell<'_>) -> Result<(), Error> {
        let mut call = self
            .session
            .upload_call(Method::Patch, &self.path, self.location.clone());
        call.headers
            .push(("Content-Type", "application/octet-stream".to_owned()));
        let at = self.at;
        let (reader, length) = source(at).map_err(|source| self.unreadable(source))?;
        if let Some(length) = length.filter(|length| at > 0 && *length > 0) {
            call.headers
                .push(("Content-Range", format!("{at}-{}", at + length - 1)));
        }
        let mut sent = Some(reader);
        let mut once = || {
            let (reader, length) = match sent.take() {
                Some(reader) => (reader, length),
                None => source(at)?,
            };
            let reader: Box<dyn Read + Send + '_> = Box::new(Counted { reader, at, tell });
            Ok(Outgoing::Stream { reader, length })
        };
        let response = self.session.send(&call, Some(&mut once))?;
        let response = self.session.check(response, &call.what, true)?;
        self.location = Session::location(&call, &response)?;
        if let Some(end) = range_end(response.header("range")) {
            self.at = end;
        }
        Ok(())
    }

    /// Asks how much the registry has.
    fn ask_state(&mut self) -> Result<(), Error> {
        let call = self
            .session
            .upload_call(Method::Get, &self.path, self.location.clone());
        let response = self
            .session
            .check(self.session.call(&call)?, &call.what, true)?;
        self.at = range_end(response.header("range")).unwrap_or_default();
        if response.header("location").is_some() {
            self.location = Session::location(&call, &response)?;
        }
        Ok(())
    }

    fn close(&self, digest: Digest) -> Result<(), Error> {
        let url = self.location.with_query("digest", &digest.to_string());
        let call = self.session.upload_call(Method::Put, &self.path, url);
        let response = self.session.send(&call, None)?;
        self.session.check(response, &call.what, true).map(drop)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Local {
            what: format!(
                "cannot read what is sent to {}/{}",
                self.session.host, self.path
            ),
            source,
        }
    }
}

/// Whether the registry lost the upload, or is in trouble that may pass.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Status { status, .. } => matches!(status, 408 | 416 | 500 | 502 | 503 | 504),
        _ => false,
    }
}

/// How many bytes `0-LAST` means; a registry that has none says `0-0` or `0--1`.
fn range_end(header: Option<&str>) -> Option<u64> {
    let (_, last) = header?.trim_start_matches("bytes=").split_once('-')?;
    match last.parse::<u64>() {
        Ok(0) | Err(_) => Some(0),
        Ok(last) => Some(last + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::range_end;

    #[test]
    fn ranges_are_counts() {
        assert_eq!(range_end(Some("0-99")), Some(100));
        assert_eq!(range_end(Some("bytes=0-9")), Some(10));
        assert_eq!(range_end(Some("0-0")), Some(0));
        assert_eq!(range_end(Some("0--1")), Some(0));
        assert_eq!(range_end(None), None);
    }
}
