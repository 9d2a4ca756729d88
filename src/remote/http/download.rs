//! From an answer to bytes: limits, checksums, and an eye on the clock.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ureq::Agent;

use super::super::checksum::Verifier;
use super::super::{Checksum, Error, Remote};
use super::Url;
use super::client::Incoming;
use crate::fs::PathError;
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
            agent,
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
        let bytes = self.supervise_body(&url, &agent, &received, || {
            let mut reader = body.as_reader();
            let mut buffer = vec![0; 1 << 16];
            let mut bytes = 0;
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(0) => return Ok(bytes),
                    Ok(count) => count,
                    Err(err) => return Err(unreachable(&url, ureq::Error::from(err))),
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
        agent: &Agent,
        work: impl FnOnce() -> Result<T, ureq::Error>,
    ) -> Result<T, Error> {
        // The agent's own timeouts bound this; nothing is counted.
        let counted = AtomicU64::new(u64::MAX);
        self.supervise_body(url, agent, &counted, || {
            work().map_err(|err| unreachable(url, err))
        })
    }

    /// Does `work` and cuts its connections when the build is stopped, or when
    /// `received` grows too slowly.
    fn supervise_body<T>(
        &self,
        url: &Url,
        agent: &Agent,
        received: &AtomicU64,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let time = self.settings.idle;
        if (self.canceled)() {
            return Err(Error::Canceled);
        }
        let (result, cut) = std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel::<()>();
            let watcher = scope.spawn(move || self.watch(agent, received, &ended));
            let result = work();
            drop(done);
            let cut = watcher.join().unwrap_or(None);
            (result, cut)
        });
        match (result, cut) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(Cut::Canceled)) => Err(Error::Canceled),
            (Err(err), cut) => {
                let timeout =
                    matches!(&err, Error::Unreachable { source, .. } if is_timeout(source));
                if cut.is_some() || timeout {
                    let url = url.to_string();
                    return Err(Error::Stalled { url, time });
                }
                Err(err)
            }
        }
    }

    fn watch(
        &self,
        agent: &Agent,
        received: &AtomicU64,
        ended: &mpsc::Receiver<()>,
    ) -> Option<Cut> {
        let mut since = Instant::now();
        let mut before = 0;
        loop {
            match ended.recv_timeout(TURN) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
            if (self.canceled)() {
                agent.clone().shutdown();
                return Some(Cut::Canceled);
            }
            let now = received.load(Ordering::Relaxed);
            if now == u64::MAX || now - before >= FLOOR_BYTES {
                (since, before) = (Instant::now(), now);
            } else if since.elapsed() > self.settings.idle {
                agent.clone().shutdown();
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

fn is_timeout(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => false,
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(err) => err.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

fn unreachable(url: &Url, source: ureq::Error) -> Error {
    Error::Unreachable {
        url: url.to_string(),
        source: Box::new(source),
    }
}
