//! From an answer to bytes: limits, checksums, and an eye on the clock.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::checksum::Verifier;
use super::super::{Checksum, Error, Remote};
use super::client::Incoming;
use crate::fs::PathError;
use crate::http::{Http, HttpError, Url};
use crate::oci::Digest;

/// Bytes that must come within the time a server may stay silent: a server that
/// sends one a minute makes no progress either.
const FLOOR_BYTES: u64 = 4 << 10;
/// How often the clock and the user are looked at.
const TURN: Duration = Duration::from_millis(100);

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
}

impl Remote<'_> {
    /// Writes a file's bytes to `target`, whose name is for messages.
    ///
    /// # Errors
    /// What was written must be thrown away then: the checksum is known at the end only.
    pub fn download(
        &self,
        incoming: Incoming,
        expected: Option<&Checksum>,
        target: (&mut dyn Write, &std::path::Path),
    ) -> Result<Downloaded, Error> {
        let Incoming {
            url,
            length,
            mut body,
            http,
            ..
        } = incoming;
        let limit_bytes = self.settings.limit_bytes;
        let too_large = || Error::TooLarge {
            what: url.to_string(),
            limit_bytes,
        };
        if length.is_some_and(|length| length > limit_bytes) {
            return Err(too_large());
        }
        let (target, path) = target;
        let received = AtomicU64::new(0);
        let mut verifier = Verifier::new(expected);
        let bytes = self.supervise_body(&url, &http, &received, || {
            let mut buffer = vec![0; 1 << 16];
            let mut bytes = 0;
            loop {
                let count = match body.read(&mut buffer) {
                    Ok(0) => return Ok(bytes),
                    Ok(count) => count,
                    Err(source) => {
                        let url = url.to_string();
                        return Err(Error::Broken { url, source });
                    }
                };
                bytes += count as u64;
                if bytes > limit_bytes {
                    return Err(too_large());
                }
                verifier.update(&buffer[..count]);
                target
                    .write_all(&buffer[..count])
                    .map_err(|source| PathError {
                        action: "write",
                        path: path.to_owned(),
                        source,
                    })?;
                received.store(bytes, Ordering::Relaxed);
            }
        })?;
        if let Some(want) = length.filter(|length| *length != bytes) {
            let url = url.to_string();
            return Err(Error::Short {
                url,
                got: bytes,
                want,
            });
        }
        let (digest, got) = verifier.finish();
        match expected {
            Some(want) if *want != got => Err(Error::Mismatch {
                url: url.to_string(),
                got,
                want: want.clone(),
            }),
            _ => Ok(Downloaded { digest, bytes }),
        }
    }

    /// Waits for an answer, unless the build is stopped meanwhile.
    pub(super) fn supervise<T>(
        &self,
        url: &Url,
        http: &Http,
        work: impl FnOnce() -> Result<T, HttpError>,
    ) -> Result<T, Error> {
        self.supervise_body(url, http, &AtomicU64::new(0), || {
            work().map_err(|source| Error::Unreachable {
                url: url.to_string(),
                source: Box::new(source),
            })
        })
    }

    /// Does `work` and cuts its connections when the build is stopped, or when
    /// `received` grows too slowly.
    fn supervise_body<T>(
        &self,
        url: &Url,
        http: &Http,
        received: &AtomicU64,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if (self.canceled)() {
            return Err(Error::Canceled);
        }
        let (result, cut) = std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel::<()>();
            let watcher = scope.spawn(move || self.watch(http, received, &ended));
            let result = work();
            drop(done);
            (result, watcher.join().unwrap_or(None))
        });
        match (result, cut) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(Cut::Canceled)) => Err(Error::Canceled),
            (Err(_), Some(Cut::Slow)) => Err(Error::Stalled {
                url: url.to_string(),
                time: self.settings.idle,
            }),
            (Err(err), None) => Err(err),
        }
    }

    fn watch(&self, http: &Http, received: &AtomicU64, ended: &mpsc::Receiver<()>) -> Option<Cut> {
        let mut since = Instant::now();
        let mut before = 0;
        loop {
            match ended.recv_timeout(TURN) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
            if (self.canceled)() {
                http.close();
                return Some(Cut::Canceled);
            }
            let now = received.load(Ordering::Relaxed);
            if now - before >= FLOOR_BYTES {
                (since, before) = (Instant::now(), now);
            } else if since.elapsed() > self.settings.idle {
                http.close();
                return Some(Cut::Slow);
            }
        }
    }
}

/// Why connections were cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Canceled,
    Slow,
}
