//! Requests sent again, redirects followed, documents read whole.

use std::io::Read;
use std::time::{Duration, Instant};

use super::error::Error;
use super::pause::Pauses;
use super::session::{BodySource, Call, Session};
use crate::http::{HttpError, Response};

/// How often a request that may be repeated is sent.
const ATTEMPTS: u32 = 5;
/// The first pause between attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that a server's `Retry-After` is granted; who wants more is told to the user.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);
/// Most redirects, to where the bytes really are.
const REDIRECTS: u32 = 10;
/// A document may take so many times as long as a server may be silent.
const DOCUMENT_PATIENCE: u32 = 4;
/// How much of a document is read at a time.
const PIECE: usize = 64 << 10;

/// Does something again, with pauses in between, as long as it fails in a way that may pass.
pub(super) fn again<T>(
    pauses: &Pauses,
    mut once: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match once() {
            Err(err) if err.is_broken() && !pauses.is_over() => {}
            other => return other,
        }
        pauses.pause(pause);
        pause *= 2;
    }
    once()
}

/// Sends a request, again while the server is busy or the connection breaks.
pub(super) fn until_answered(
    pauses: &Pauses,
    mut send: impl FnMut() -> Result<Response, Error>,
) -> Result<Response, Error> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        let wait = match send() {
            Ok(response) if !is_busy(response.status) => return Ok(response),
            Ok(response) => match retry_after(&response) {
                // Nobody sits before a command for so long.
                Some(wait) if wait > PAUSE_LIMIT => return Ok(response),
                Some(wait) => wait,
                None => pause,
            },
            Err(err) if err.is_broken() && !pauses.is_over() => pause,
            Err(err) => return Err(err),
        };
        pauses.pause(wait);
        pause = (pause * 2).min(PAUSE_LIMIT);
    }
    send()
}

impl Session {
    /// Sends a request without a body, again where that may help.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Response, Error> {
        until_answered(&self.pauses, || self.send(call, None))
    }

    /// The same for one with a body, which must do the same when it comes twice.
    pub(super) fn call_with(
        &self,
        call: &Call<'_>,
        body: &mut BodySource<'_>,
    ) -> Result<Response, Error> {
        until_answered(&self.pauses, || self.send(call, Some(body)))
    }

    /// Sends a request that reads, and goes where the registry sends it: never
    /// from TLS to none, and with nothing of who we are to another host.
    pub(super) fn open(&self, call: &Call<'_>) -> Result<Response, Error> {
        let mut call = call.clone();
        for _ in 0..=REDIRECTS {
            let response = self.call(&call)?;
            let Some(location) = response.redirect() else {
                return self.foreign(&call, response);
            };
            let next = call.url.join(location)?;
            if call.url.is_tls() && !next.is_tls() {
                let why = format!("it redirects to `{next}`, which is not encrypted");
                return Err(Error::protocol(&call.what, why));
            }
            self.refuse_inward(&call.what, &next)?;
            call.url = next;
        }
        Err(Error::protocol(
            &call.what,
            format!("more than {REDIRECTS} redirects"),
        ))
    }

    /// What another host refuses is no matter of logging in.
    fn foreign(&self, call: &Call<'_>, response: Response) -> Result<Response, Error> {
        if response.is_success() || self.is_own(&call.url)? {
            return Ok(response);
        }
        let status = response.status;
        let host = call.url.authority();
        Err(Error::Status {
            what: call.what.clone(),
            status,
            why: format!("this comes from `{host}`, where the registry sent us"),
        })
    }

    /// Reads what a request gives, whole and not above `limit` bytes; begins
    /// anew when the connection breaks on the way.
    pub(super) fn document(
        &self,
        call: &Call<'_>,
        limit: u64,
    ) -> Result<(Response, Vec<u8>), Error> {
        again(&self.pauses, || {
            let mut response = self.check(self.open(call)?, &call.what, false)?;
            let patience = self.http.idle() * DOCUMENT_PATIENCE;
            let bytes = read_whole(&mut response, limit, &call.what, patience)?;
            Ok((response, bytes))
        })
    }
}

/// A whole body, its length and the time for it bounded.
pub(super) fn read_whole(
    response: &mut Response,
    limit: u64,
    what: &str,
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let promised = response.length();
    let too_large = || Error::TooLarge {
        what: what.to_owned(),
        limit,
    };
    if promised.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let began = Instant::now();
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let broken = |source| Error::Broken {
            what: what.to_owned(),
            source,
        };
        match response.body.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Err(broken(err)),
        }
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        if began.elapsed() > patience {
            return Err(Error::TooSlow {
                what: what.to_owned(),
            });
        }
    }
    let got = bytes.len() as u64;
    match promised {
        Some(want) if want != got => Err(Error::WrongSize {
            what: what.to_owned(),
            want,
            got,
        }),
        _ => Ok(bytes),
    }
}

fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds; a date is not worth its parser here.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl Error {
    pub(super) fn protocol(what: &str, why: String) -> Self {
        Self::Protocol {
            what: what.to_owned(),
            why,
        }
    }

    /// Whether a connection broke or stood still: the same request may succeed in a moment.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Http(err) => HttpError::is_passing(err),
            Self::Broken { .. } => true,
            _ => false,
        }
    }
}
