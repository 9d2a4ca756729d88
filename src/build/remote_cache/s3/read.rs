//! An object as it arrives; a connection that breaks is taken up where it ended.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::S3Error;
use super::client::Bucket;
use crate::build::remote_cache::backend::BackendError;

/// How often a broken download is taken up again without a byte in between.
const RESUMPTIONS: u32 = 5;
/// Pause before it is.
const PAUSE: Duration = Duration::from_millis(300);

/// The bytes of an object. They are not checked.
pub(super) struct ObjectReader {
    bucket: Arc<Bucket>,
    key: String,
    size: u64,
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    broken: u32,
}

impl ObjectReader {
    /// Opens an object of this size.
    pub(super) fn open(bucket: &Arc<Bucket>, key: String, size: u64) -> Result<Self, BackendError> {
        let Some(response) = bucket.get(&key, 0)? else {
            return Err(BackendError::damaged(key, "it is missing"));
        };
        if response.length().is_some_and(|length| length != size) {
            return Err(BackendError::damaged(key, "it has another size"));
        }
        Ok(Self {
            bucket: Arc::clone(bucket),
            key,
            size,
            at: 0,
            body: Some(response.body),
            broken: 0,
        })
    }

    fn again(&mut self) -> io::Result<()> {
        std::thread::sleep(PAUSE * self.broken);
        let response = self
            .bucket
            .get(&self.key, self.at)
            .map_err(io::Error::other)?;
        let gone = || io::Error::other(S3Error::protocol(&self.key, "it is gone"));
        self.body = Some(response.ok_or_else(gone)?.body);
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else {
                self.again()?;
                continue;
            };
            match body.read(&mut buffer[..wanted]) {
                Ok(count @ 1..) => {
                    self.at += count as u64;
                    self.broken = 0;
                    return Ok(count);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // An early end is a broken connection too.
                end => {
                    self.body = None;
                    self.broken += 1;
                    if self.broken > RESUMPTIONS {
                        let why = end
                            .err()
                            .map_or("it ended early".to_owned(), |err| err.to_string());
                        let text = format!(
                            "{}: the connection broke at byte {}: {why}",
                            self.key, self.at
                        );
                        return Err(io::Error::other(text));
                    }
                }
            }
        }
    }
}
