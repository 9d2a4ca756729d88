//! One blob from registry to registry.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Error, LayerState, Watch};
use crate::oci::{Descriptor, Digest, Hasher, Reference};
use crate::registry::{self, Client, Target};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How often a blob is begun again when a connection broke in a way that its
/// own resumption does not mend.
const ATTEMPTS: u32 = 3;
/// The pause before it is.
const PAUSE: Duration = Duration::from_millis(500);

/// Where blobs come from and go to.
pub(super) struct Blobs<'a> {
    client: &'a Client,
    source: &'a Reference,
    target: &'a Reference,
    watch: &'a dyn Watch,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(
        client: &'a Client,
        source: &'a Reference,
        target: &'a Reference,
        watch: &'a dyn Watch,
    ) -> Self {
        Self {
            client,
            source,
            target,
            watch,
        }
    }

    /// Sees to it that the target has the blob; returns how many bytes were sent.
    pub(super) fn bring(&self, blob: &Descriptor) -> Result<u64, Error> {
        let mut attempt = 1;
        loop {
            match self.once(blob) {
                Err(Error::Registry(err)) if err.is_passing() && attempt < ATTEMPTS => {
                    std::thread::sleep(PAUSE * attempt);
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn once(&self, blob: &Descriptor) -> Result<u64, Error> {
        let same_host = self.source.host() == self.target.host();
        let from = same_host.then(|| self.source.path());
        let begun = self
            .client
            .begin_upload(self.target, Some(blob.digest), from)?;
        let (state, bytes) = match begun {
            Target::There => (LayerState::Exists, 0),
            Target::Mounted(from) => (LayerState::Mounted(from), 0),
            Target::Send(upload) => {
                self.stream(blob, upload)?;
                (LayerState::Done, blob.size)
            }
        };
        self.watch.layer(blob.digest, state);
        Ok(bytes)
    }

    /// Lets the bytes through, hashing them on the way.
    fn stream(&self, blob: &Descriptor, upload: registry::Upload) -> Result<(), Error> {
        let told = Mutex::new(Instant::now());
        let tell = |done: u64| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                let total = Some(blob.size);
                self.watch
                    .layer(blob.digest, LayerState::Moving { done, total });
            }
        };
        let check = Arc::new(Mutex::new(Check::new(blob)));
        let sent = upload.send(
            &mut |at| {
                let reader = self
                    .client
                    .blob_from(self.source, blob, at)
                    .map_err(io::Error::other)?;
                let checked = Checked {
                    reader,
                    at,
                    check: Arc::clone(&check),
                };
                Ok((Box::new(checked), Some(blob.size - at)))
            },
            Some(blob.size),
            blob.digest,
            &tell,
        );
        // That the source sends something else says more than that the target refused it.
        if let Some(got) = check.lock().unwrap_or_else(PoisonError::into_inner).wrong {
            return Err(Error::Registry(registry::Error::WrongDigest {
                what: self.source.with_digest(blob.digest).familiar(),
                want: blob.digest,
                got,
            }));
        }
        Ok(sent?)
    }
}

/// The hash over a blob's bytes, which may come in several goes.
struct Check {
    want: Digest,
    size: u64,
    /// How many bytes are hashed.
    at: u64,
    hasher: Option<Hasher>,
    /// What the bytes hash to, when that is not what it should be.
    wrong: Option<Digest>,
}

impl Check {
    fn new(blob: &Descriptor) -> Self {
        Self {
            want: blob.digest,
            size: blob.size,
            at: 0,
            hasher: Some(Hasher::new()),
            wrong: None,
        }
    }

    /// Takes the bytes that begin at `at`; those that came before are not hashed again.
    fn take(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        if end > self.at && at <= self.at {
            let known = usize::try_from(self.at - at).unwrap_or(usize::MAX);
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&bytes[known..]);
            }
            self.at = end;
        }
        if self.at == self.size
            && let Some(hasher) = self.hasher.take()
        {
            let got = hasher.finish();
            self.wrong = (got != self.want).then_some(got);
        }
        match self.wrong {
            None => Ok(()),
            Some(_) => Err(io::Error::other(
                "the source sent other bytes than promised",
            )),
        }
    }
}

/// Bytes of the source on their way; the last ones are held back when the whole is wrong.
struct Checked<R> {
    reader: R,
    at: u64,
    check: Arc<Mutex<Check>>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let mut check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        check.take(self.at, &buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8], goes: &[(u64, usize)]) -> Option<Digest> {
        let blob = Descriptor::new("t", Digest::of(b"0123456789"), 10);
        let check = Arc::new(Mutex::new(Check::new(&blob)));
        for (at, count) in goes {
            let from = usize::try_from(*at).unwrap();
            let mut reader = Checked {
                reader: &bytes[from..(from + count).min(bytes.len())],
                at: *at,
                check: Arc::clone(&check),
            };
            let _stopped = io::copy(&mut reader, &mut io::sink());
        }
        let check = check.lock().unwrap();
        assert!(check.at == 10);
        check.wrong
    }

    #[test]
    fn bytes_are_checked_over_several_goes() {
        assert_eq!(checked(b"0123456789", &[(0, 10)]), None);
        assert_eq!(checked(b"0123456789", &[(0, 6), (4, 6)]), None);
        assert_eq!(checked(b"0123456789", &[(0, 6), (0, 10)]), None);
        assert_eq!(
            checked(b"012345678x", &[(0, 6), (4, 6)]),
            Some(Digest::of(b"012345678x"))
        );
    }
}
