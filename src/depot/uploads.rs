//! Blobs on their way in: at once, in pieces, taken over from another repository.
//!
//! What came of an upload is in the store, whatever happens to the connection or
//! to us; a sender asks where it stands and goes on there.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Depot;
use super::access::{Caller, Right};
use super::refusal::{Code, Refusal};
use super::route::{is_repository, parse_digest};
use crate::oci::{Digest, Hasher};
use crate::serve::{Request, Response};
use crate::store::{Store, Upload, UploadOpened};

/// Largest blob that is taken, in bytes: as large as a layer may be.
const BLOB_LIMIT: u64 = 1 << 40;
/// How much is taken from the network at a time.
const PIECE: usize = 256 << 10;
/// How long a request waits for the one before it, whose connection may be broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most uploads whose running hash is remembered.
const HASHERS: usize = 1024;

/// The running hashes of uploads, with how many bytes are in each. One that is
/// not here is made again from the bytes.
#[derive(Debug, Default)]
pub(super) struct Hashers(Mutex<HashMap<String, (Hasher, u64)>>);

impl Hashers {
    fn take(&self, upload: &mut Upload) -> Result<Hasher, Refusal> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(upload.id());
        match known {
            Some((hasher, length)) if length == upload.length() => Ok(hasher),
            _ => Ok(upload.hash()?),
        }
    }

    fn keep(&self, upload: &Upload, hasher: Hasher) {
        let mut hashers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hashers.len() >= HASHERS {
            hashers.clear();
        }
        hashers.insert(upload.id().to_owned(), (hasher, upload.length()));
    }

    fn forget(&self, id: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

impl Depot {
    pub(super) fn begin_upload(
        &self,
        request: &mut Request<'_>,
        repository: &str,
        caller: &Caller,
    ) -> Result<Response, Refusal> {
        if let Some(algorithm) = request.query("digest-algorithm")
            && algorithm != "sha256"
        {
            return Err(Refusal::new(
                Code::DigestInvalid,
                "only the digest algorithm sha256 is known",
            ));
        }
        if let Some(mount) = request.query("mount") {
            let digest = parse_digest(mount)?;
            // Whatever stands against it, the blob can be sent instead.
            let from = request
                .query("from")
                .filter(|from| is_repository(from) && caller.may(from, Right::Pull));
            if let Some(from) = from
                && self.store.blob_exists(digest)
                && self.store.hosted_blob_mount(repository, digest, from)?
            {
                return Ok(created(repository, digest));
            }
        } else if let Some(digest) = request.query("digest") {
            let digest = parse_digest(digest)?;
            return self.take_whole(request, repository, digest);
        }
        let id = self.store.upload_begin(repository)?.ok_or_else(|| {
            Refusal::new(
                Code::TooManyRequests,
                "there are too many unfinished uploads",
            )
        })?;
        Ok(state(202, repository, &id, 0))
    }

    /// A blob in one request.
    fn take_whole(
        &self,
        request: &mut Request<'_>,
        repository: &str,
        digest: Digest,
    ) -> Result<Response, Refusal> {
        let mut writer = self.store.blob_writer()?;
        copy(request, 0, &mut |piece| writer.write_all(piece))?;
        self.store.hosted_blob_put(repository, writer, digest)?;
        Ok(created(repository, digest))
    }

    pub(super) fn upload_state(&self, repository: &str, id: &str) -> Result<Response, Refusal> {
        let length = self.store.upload_length(repository, id)?;
        let length = length.ok_or_else(unknown)?;
        Ok(state(204, repository, id, length))
    }

    pub(super) fn patch_upload(
        &self,
        request: &mut Request<'_>,
        repository: &str,
        id: &str,
    ) -> Result<Response, Refusal> {
        let mut upload = open(&self.store, repository, id)?;
        check_range(request, repository, &upload)?;
        let hasher = self.hashers.take(&mut upload)?;
        let hasher = self.receive(request, &mut upload, hasher)?;
        self.hashers.keep(&upload, hasher);
        Ok(state(202, repository, id, upload.length()))
    }

    pub(super) fn put_upload(
        &self,
        request: &mut Request<'_>,
        repository: &str,
        id: &str,
    ) -> Result<Response, Refusal> {
        let digest = request.query("digest").ok_or_else(|| {
            Refusal::new(Code::DigestInvalid, "the digest of the blob is missing")
        })?;
        let digest = parse_digest(digest)?;
        let mut upload = match open(&self.store, repository, id) {
            // An answer that was lost is asked for again.
            Err(_) if self.is_finished(repository, id, digest)? => {
                return Ok(created(repository, digest));
            }
            other => other?,
        };
        check_range(request, repository, &upload)?;
        let hasher = self.hashers.take(&mut upload)?;
        let hasher = self.receive(request, &mut upload, hasher)?;
        self.store
            .upload_finish(repository, &upload, hasher, digest)?;
        Ok(created(repository, digest))
    }

    pub(super) fn delete_upload(&self, repository: &str, id: &str) -> Result<Response, Refusal> {
        self.hashers.forget(id);
        if !self.store.upload_remove(repository, id)? {
            return Err(unknown());
        }
        Ok(Response::new(204))
    }

    fn is_finished(&self, repository: &str, id: &str, digest: Digest) -> Result<bool, Refusal> {
        Ok(self.store.upload_length(repository, id)?.is_none()
            && self.store.hosted_blob(repository, digest)?
            && self.store.blob_exists(digest))
    }

    /// Adds the body of a request to an upload. What came stays when the rest does not.
    fn receive(
        &self,
        request: &mut Request<'_>,
        upload: &mut Upload,
        mut hasher: Hasher,
    ) -> Result<Hasher, Refusal> {
        let received = copy(request, upload.length(), &mut |piece| {
            upload.write_all(piece)?;
            hasher.update(piece);
            Ok(())
        });
        match received {
            Ok(()) => Ok(hasher),
            Err(refusal) => {
                self.hashers.keep(upload, hasher);
                Err(refusal)
            }
        }
    }
}

/// Passes the body of a request on. `before` bytes of the blob are there already.
fn copy(
    request: &mut Request<'_>,
    before: u64,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Refusal> {
    let too_large = || Refusal::new(Code::BlobTooLarge, "the blob is too large");
    let promised = request.length().unwrap_or(0);
    if before.saturating_add(promised) > BLOB_LIMIT {
        return Err(too_large());
    }
    let mut buffer = vec![0; PIECE];
    let mut total = before;
    loop {
        let mut filled = 0;
        let mut ended = Ok(false);
        while filled < buffer.len() {
            match request.read(&mut buffer[filled..]) {
                Ok(0) => {
                    ended = Ok(true);
                    break;
                }
                Ok(count) => filled += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => {
                    ended = Err(err);
                    break;
                }
            }
        }
        total += filled as u64;
        if total > BLOB_LIMIT {
            return Err(too_large());
        }
        take(&buffer[..filled]).map_err(|err| disk(&err))?;
        match ended {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(err) => {
                return Err(Refusal::new(Code::BlobUploadInvalid, "the body broke off")
                    .noted(err.to_string()));
            }
        }
    }
}

fn disk(err: &io::Error) -> Refusal {
    if err.kind() == io::ErrorKind::StorageFull {
        return Refusal::new(Code::NoSpace, "the registry has no room left");
    }
    Refusal::new(Code::Internal, "the blob cannot be written").noted(err.to_string())
}

/// Opens an upload; waits a little for another request to let go of it.
fn open(store: &Store, repository: &str, id: &str) -> Result<Upload, Refusal> {
    let began = Instant::now();
    loop {
        match store.upload_open(repository, id)? {
            UploadOpened::Ours(upload) => return Ok(upload),
            UploadOpened::Unknown => return Err(unknown()),
            UploadOpened::Busy if began.elapsed() > PATIENCE => {
                return Err(Refusal::new(
                    Code::Busy,
                    "another request is adding to this upload",
                ));
            }
            UploadOpened::Busy => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Refuses a piece that does not begin where the upload stands.
fn check_range(request: &Request<'_>, repository: &str, upload: &Upload) -> Result<(), Refusal> {
    let Some(header) = request.header("content-range") else {
        return Ok(());
    };
    // Docker's clients write a unit and a total, the specification neither.
    let text = header.trim();
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let text = text.split('/').next().unwrap_or(text);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let range = text
        .split_once('-')
        .and_then(|(first, last)| number(first).zip(number(last)));
    let length = upload.length();
    let refuse = |message: &str| {
        Refusal::new(Code::RangeInvalid, message)
            .with("Location", location(repository, upload.id()))
            .with("Range", range_text(length))
    };
    let Some((first, last)) = range.filter(|(first, last)| first <= last) else {
        return Err(refuse("the content range cannot be read"));
    };
    if first != length {
        return Err(refuse("the piece does not begin where the upload stands"));
    }
    if request
        .length()
        .is_some_and(|length| length != (last - first).saturating_add(1))
    {
        return Err(Refusal::new(
            Code::SizeInvalid,
            "the content range and the length of the body disagree",
        ));
    }
    Ok(())
}

fn unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "blob upload unknown to registry")
}

fn location(repository: &str, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// What came so far, as both ends of it; nothing looks like one byte.
fn range_text(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn state(status: u16, repository: &str, id: &str, length: u64) -> Response {
    Response::new(status)
        .with("Location", location(repository, id))
        .with("Range", range_text(length))
        .with("Docker-Upload-UUID", id)
}

fn created(repository: &str, digest: Digest) -> Response {
    Response::new(201)
        .with("Location", format!("/v2/{repository}/blobs/{digest}"))
        .with("Docker-Content-Digest", digest)
}
