//! One GET, with redirects and credentials.

use std::io::Read;

use base64::Engine as _;

use super::super::{Error, Remote};
use crate::http::{Http, Options, Request, Response, Url};

/// Most redirects that are followed, as Go's client has it.
const REDIRECT_LIMIT: usize = 10;
/// Age from which on `Last-Modified` tells versions apart: a younger file may
/// change once more within the second (RFC 9110, 8.8.2.2).
const SETTLED_SECONDS: i64 = 60;

/// What a server said about a version of a file, to ask for another one only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`, where it is old enough to tell versions apart.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Whether there is nothing to ask by.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// A server's answer.
#[derive(Debug)]
pub enum Answer {
    /// The version that was known still is the newest.
    NotModified,
    /// The file.
    File(Box<Incoming>),
}

/// A file whose bytes are still to come.
pub struct Incoming {
    /// Where from.
    pub(super) url: Url,
    /// How to recognise this version.
    pub validators: Validators,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// How many bytes were promised.
    pub(super) length: Option<u64>,
    pub(super) body: Box<dyn Read + Send>,
    /// Ends the connection.
    pub(super) http: Http,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({})", self.url)
    }
}

impl Remote<'_> {
    /// Asks for the file at `url`; with `known`, only for another version.
    ///
    /// # Errors
    /// Anything but success and "not modified" is an error.
    pub fn get(&self, url: &Url, known: Option<&Validators>) -> Result<Answer, Error> {
        let own = self.authorization(url)?;
        // One client for each file: it is closed when the file does not come.
        let http = self.supervised_client(url)?;
        let mut place = url.clone();
        for _ in 0..=REDIRECT_LIMIT {
            let authorization = if place.same_origin(url) {
                own.clone()
            } else {
                basic(&place)
            };
            let request = request(&place, authorization, known);
            let response = self.supervise(url, &http, || http.send(request))?;
            if let Some(location) = response.redirect() {
                place = follow(url, &place, location)?;
                continue;
            }
            return match response.status {
                304 if known.is_some_and(|known| !known.is_empty()) => Ok(Answer::NotModified),
                200..=299 => Ok(Answer::File(Box::new(incoming(place, response, http)))),
                status => Err(Error::Status {
                    url: url.to_string(),
                    status,
                }),
            };
        }
        Err(Error::Redirects {
            url: url.to_string(),
            limit: REDIRECT_LIMIT,
        })
    }

    fn supervised_client(&self, url: &Url) -> Result<Http, Error> {
        let options = Options {
            environment: self.settings.environment.clone(),
            ..Options::default()
        };
        Http::new(&options).map_err(|source| Error::Unreachable {
            url: url.to_string(),
            source: Box::new(source),
        })
    }

    /// `Authorization` for `url`: a header or token among the secrets, else what stands in it.
    fn authorization(&self, url: &Url) -> Result<Option<String>, Error> {
        let host = url.host().trim_start_matches('[').trim_end_matches(']');
        let secret = |name: &str| {
            let value = (self.secret)(&format!("{name}_{host}"))?;
            Some(String::from_utf8(value))
        };
        let token = secret("HTTP_AUTH_TOKEN");
        let token = token.map(|token| token.map(|token| format!("Bearer {token}")));
        let Some(value) = token.or_else(|| secret("HTTP_AUTH_HEADER")) else {
            return Ok(basic(url));
        };
        let value = value
            .ok()
            .map(|value| value.trim_end_matches(['\r', '\n']).to_owned());
        match value.filter(|value| !value.contains(|c: char| c.is_control())) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Credentials {
                url: url.to_string(),
            }),
        }
    }
}

/// `Authorization` of the credentials in an address.
fn basic(url: &Url) -> Option<String> {
    let (user, password) = url.userinfo()?;
    let pair = format!("{user}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    Some(format!("Basic {encoded}"))
}

fn request<'a>(
    place: &'a Url,
    authorization: Option<String>,
    known: Option<&Validators>,
) -> Request<'a> {
    let mut request = Request::get(place);
    if let Some(authorization) = authorization {
        request = request.with("authorization", authorization);
    }
    if let Some(known) = known {
        // Where both are there, a server looks at the first only (RFC 9110, 13.1.3).
        if let Some(etag) = &known.etag {
            request = request.with("if-none-match", etag);
        }
        if let Some(modified) = &known.last_modified {
            request = request.with("if-modified-since", modified);
        }
    }
    request
}

/// Where an answer sends to.
fn follow(url: &Url, place: &Url, location: &str) -> Result<Url, Error> {
    let refuse = |why| Error::Redirect {
        url: url.to_string(),
        to: super::super::redact(location),
        why,
    };
    let next = place
        .join(location)
        .map_err(|_| refuse("which is no address of a web server"))?;
    if place.is_tls() && !next.is_tls() {
        return Err(refuse("which is not encrypted as the first address is"));
    }
    Ok(next)
}

fn incoming(url: Url, response: Response, http: Http) -> Incoming {
    let text = |name| response.header(name).map(str::to_owned);
    let last_modified = text("last-modified");
    let modified = last_modified.as_deref().and_then(seconds);
    let now = response.header("date").and_then(seconds);
    let is_settled = match (modified, now) {
        (Some(modified), Some(now)) => now - modified >= SETTLED_SECONDS,
        _ => false,
    };
    Incoming {
        url,
        validators: Validators {
            etag: text("etag"),
            last_modified: last_modified.filter(|_| is_settled),
        },
        modified,
        length: response.length(),
        body: response.body,
        http,
    }
}

/// A date of HTTP as seconds since 1970, within what a tar can hold.
fn seconds(date: &str) -> Option<i64> {
    /// The end of the year 9999.
    const LATEST: i64 = 253_402_300_799;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp().as_second().clamp(0, LATEST))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn dates_of_headers() {
        assert_eq!(
            seconds("Sun, 13 Sep 2020 12:26:40 GMT"),
            Some(1_600_000_000)
        );
        assert_eq!(seconds("Fri, 01 Jan 1960 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("yesterday"), None);
    }
}
