//! Blobs: given out, whole or in part, and removed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::manifests::is_known;
use super::refusal::{Code, Refusal};
use super::{Depot, images};
use crate::oci::Digest;
use crate::serve::{Content, Method, Request, Response};
use crate::store;

/// Part of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// From one byte to another, which is not part of it.
    Part(u64, u64),
    /// Nothing that it has.
    Beyond,
}

/// What a `Range` header asks for. Several ranges, other units and nonsense
/// mean the whole, as the header is only a wish.
///
/// Source: RFC 9110, section 14.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is larger than every blob.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let Some((first, last)) = header
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (number(first.trim()), number(last.trim())) {
        (Some(first), None) if last.trim().is_empty() => part(first, size, size),
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1), size),
        (None, Some(count)) if first.trim().is_empty() => {
            part(size.saturating_sub(count), size, size)
        }
        _ => Wanted::Whole,
    }
}

fn part(first: u64, end: u64, size: u64) -> Wanted {
    if first >= size {
        Wanted::Beyond
    } else {
        Wanted::Part(first, end.min(size))
    }
}

impl Depot {
    pub(super) fn get_blob(
        &self,
        request: &Request<'_>,
        repository: &str,
        digest: Digest,
    ) -> Result<Response, Refusal> {
        let is_linked = if request.method == Method::Head && !self.options.read_only {
            // Who only looks may be about to push a manifest that names it.
            self.store.hosted_blob_touch(repository, digest)?
        } else {
            self.store.hosted_blob(repository, digest)?
        };
        if is_linked {
            match self.store.blob_open(digest) {
                Ok(file) => return stored(request, digest, file),
                // A power cut may have taken the file.
                Err(store::Error::NoBlob(_)) => {}
                Err(err) => return Err(err.into()),
            }
        }
        if let Some(upstream) = &self.options.upstream
            && let Some(size) = self.store.hosted_part(repository, digest)?
        {
            let wanted = wanted(request.header("range"), size);
            if request.method == Method::Head {
                return Ok(head(digest, size, wanted).carrying(Content::Stream {
                    reader: Box::new(std::io::empty()),
                    length: Some(size),
                }));
            }
            let reader = upstream.blob(&self.store, repository, digest, size)?;
            return follow(digest, size, wanted, reader);
        }
        if self.options.offers_images
            && let Some((size, open)) = images::blob(&self.store, repository, digest)?
        {
            let reader: Box<dyn Read + Send> = match request.method {
                Method::Head => Box::new(std::io::empty()),
                _ => open()?,
            };
            let length = Some(size);
            return Ok(
                common(Response::new(200), digest).carrying(Content::Stream { reader, length })
            );
        }
        Err(Refusal::no_blob(digest))
    }

    pub(super) fn delete_blob(
        &self,
        repository: &str,
        digest: Digest,
    ) -> Result<Response, Refusal> {
        if !self.store.hosted_blob_remove(repository, digest)? {
            return Err(Refusal::no_blob(digest));
        }
        Ok(Response::new(202))
    }
}

fn stored(request: &Request<'_>, digest: Digest, mut file: File) -> Result<Response, Refusal> {
    let failed = |err: std::io::Error| {
        Refusal::new(Code::Internal, "the blob cannot be read").noted(err.to_string())
    };
    let size = file.metadata().map_err(failed)?.len();
    if is_known(request, &format!("\"{digest}\"")) {
        return Ok(common(Response::new(304), digest));
    }
    // An answer to HEAD tells of the whole.
    let range = request
        .header("range")
        .filter(|_| request.method == Method::Get);
    let wanted = wanted(range, size);
    let (first, end) = match wanted {
        Wanted::Whole => (0, size),
        Wanted::Part(first, end) => (first, end),
        Wanted::Beyond => return Err(beyond(size)),
    };
    file.seek(SeekFrom::Start(first)).map_err(failed)?;
    Ok(head(digest, size, wanted).carrying(Content::File(file.take(end - first))))
}

/// A blob that is read from its beginning on.
fn follow(
    digest: Digest,
    size: u64,
    wanted: Wanted,
    mut reader: Box<dyn Read + Send>,
) -> Result<Response, Refusal> {
    let (first, end) = match wanted {
        Wanted::Whole => (0, size),
        Wanted::Part(first, end) => (first, end),
        Wanted::Beyond => return Err(beyond(size)),
    };
    std::io::copy(&mut reader.by_ref().take(first), &mut std::io::sink()).map_err(|err| {
        Refusal::new(Code::UpstreamFailed, "the upstream registry failed").noted(err.to_string())
    })?;
    let length = end - first;
    // One that is read to its end tells whether it is what it should be.
    let reader: Box<dyn Read + Send> = if end == size {
        reader
    } else {
        Box::new(reader.take(length))
    };
    Ok(head(digest, size, wanted).carrying(Content::Stream {
        reader,
        length: Some(length),
    }))
}

fn beyond(size: u64) -> Refusal {
    Refusal::new(Code::RangeInvalid, "the range lies outside of the blob")
        .with("Content-Range", format!("bytes */{size}"))
}

fn head(digest: Digest, size: u64, wanted: Wanted) -> Response {
    let response = match wanted {
        Wanted::Part(first, end) => {
            Response::new(206).with("Content-Range", format!("bytes {first}-{}/{size}", end - 1))
        }
        _ => Response::new(200),
    };
    common(response, digest).with("Accept-Ranges", "bytes")
}

fn common(response: Response, digest: Digest) -> Response {
    response
        .with("Content-Type", "application/octet-stream")
        .with("Docker-Content-Digest", digest)
        .with("ETag", format!("\"{digest}\""))
        // What a digest names never changes.
        .with("Cache-Control", "max-age=31536000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_wishes() {
        let check = |text: &str, want| assert_eq!(wanted(Some(text), 10), want, "{text}");
        check("bytes=0-3", Wanted::Part(0, 4));
        check("bytes=4-", Wanted::Part(4, 10));
        check("bytes=-3", Wanted::Part(7, 10));
        check("bytes=-30", Wanted::Part(0, 10));
        check("bytes=8-99999999999999999999999", Wanted::Part(8, 10));
        check("bytes=10-", Wanted::Beyond);
        check("bytes=-0", Wanted::Beyond);
        check("bytes=5-4", Wanted::Whole);
        check("bytes=0-1,3-4", Wanted::Whole);
        check("lines=0-1", Wanted::Whole);
        check("bytes=x-", Wanted::Whole);
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Beyond);
    }
}
