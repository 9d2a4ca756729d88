//! One GET, with redirects and credentials.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::super::{Error, Remote};
use super::url::{Url, safe_name};

/// Most redirects that are followed, as Go's client has it.
const REDIRECT_LIMIT: usize = 10;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
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
#[derive(Debug)]
pub struct Incoming {
    /// Where from.
    pub(super) url: Url,
    /// How to recognise this version.
    pub validators: Validators,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// The name in `Content-Disposition`.
    pub name: Option<String>,
    /// How many bytes were promised.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
    /// Ends the connection.
    pub(super) agent: Agent,
}

impl Remote<'_> {
    /// Asks for the file at `url`; with `known`, only for another version.
    ///
    /// # Errors
    /// Anything but success and "not modified" is an error.
    pub fn get(&self, url: &Url, known: Option<&Validators>) -> Result<Answer, Error> {
        let mut place = url.clone();
        let own = self.authorization(url)?;
        for _ in 0..=REDIRECT_LIMIT {
            let agent = self.agent(&place)?;
            let authorization = if place.is_same_server(url) {
                own.clone()
            } else {
                place.authorization()
            };
            let response = self.supervise(url, &agent, || {
                ask(&agent, &place, authorization.as_deref(), known)
            })?;
            let status = response.status().as_u16();
            match status {
                301 | 302 | 303 | 307 | 308 => place = follow(url, &place, response.headers())?,
                304 if known.is_some_and(|known| !known.is_empty()) => {
                    return Ok(Answer::NotModified);
                }
                200..=299 => {
                    return Ok(Answer::File(Box::new(incoming(place, response, agent))));
                }
                status => {
                    let url = url.to_string();
                    return Err(Error::Status { url, status });
                }
            }
        }
        Err(Error::Redirects {
            url: url.to_string(),
            limit: REDIRECT_LIMIT,
        })
    }

    /// An agent for one server, with the system's certificates where they are needed.
    fn agent(&self, url: &Url) -> Result<Agent, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let proxy = self.proxy(url)?;
        let roots = if url.is_secure() {
            self.roots()?
        } else {
            RootCerts::from([])
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let idle = self.settings.idle;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .proxy(proxy)
            .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle))
            .timeout_per_write(Some(idle))
            .build();
        Ok(Agent::new_with_config(config))
    }

    /// `Authorization` for `url`: a header or token among the secrets, else what stands in it.
    fn authorization(&self, url: &Url) -> Result<Option<String>, Error> {
        let secret = |name: &str| {
            let value = (self.secret)(&format!("{name}_{}", url.host()))?;
            Some(String::from_utf8(value))
        };
        let token =
            secret("HTTP_AUTH_TOKEN").map(|token| token.map(|token| format!("Bearer {token}")));
        let Some(value) = token.or_else(|| secret("HTTP_AUTH_HEADER")) else {
            return Ok(url.authorization());
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

fn ask(
    agent: &Agent,
    place: &Url,
    authorization: Option<&str>,
    known: Option<&Validators>,
) -> Result<Response<Body>, ureq::Error> {
    let mut request = agent.get(place.request());
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if let Some(known) = known {
        // Where both are there, a server looks at the first only (RFC 9110, 13.1.3).
        if let Some(etag) = &known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(modified) = &known.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, modified);
        }
    }
    request.call()
}

/// Where an answer sends to.
fn follow(url: &Url, place: &Url, headers: &HeaderMap) -> Result<Url, Error> {
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let refuse = |to: &str, why| Error::Redirect {
        url: url.to_string(),
        to: super::redact(to),
        why,
    };
    let Some(location) = location else {
        return Err(refuse("", "which is nowhere"));
    };
    let next = place
        .join(location)
        .map_err(|_| refuse(location, "which is no address of a web server"))?;
    if place.is_secure() && !next.is_secure() {
        return Err(refuse(
            location,
            "which is not encrypted as the first address is",
        ));
    }
    Ok(next)
}

fn incoming(url: Url, response: Response<Body>, agent: Agent) -> Incoming {
    let (parts, body) = response.into_parts();
    let text = |name| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let last_modified = text(header::LAST_MODIFIED);
    let modified = last_modified.as_deref().and_then(seconds);
    let now = text(header::DATE).as_deref().and_then(seconds);
    let settled =
        matches!((modified, now), (Some(modified), Some(now)) if now - modified >= SETTLED_SECONDS);
    Incoming {
        url,
        validators: Validators {
            etag: text(header::ETAG),
            last_modified: last_modified.filter(|_| settled),
        },
        modified,
        name: text(header::CONTENT_DISPOSITION)
            .as_deref()
            .and_then(attached_name),
        length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        body,
        agent,
    }
}

/// A date of HTTP as seconds since 1970, within what a tar can hold.
fn seconds(date: &str) -> Option<i64> {
    /// The end of the year 9999.
    const LATEST: i64 = 253_402_300_799;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(date.timestamp().as_second().clamp(0, LATEST))
}

/// `filename` of a `Content-Disposition`.
fn attached_name(header: &str) -> Option<String> {
    let value = header.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("filename")
            .then(|| value.trim())
    })?;
    let value = value.trim_matches('"');
    safe_name(value.rsplit('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_names_of_headers() {
        assert_eq!(
            seconds("Sun, 13 Sep 2020 12:26:40 GMT"),
            Some(1_600_000_000)
        );
        assert_eq!(seconds("Fri, 01 Jan 1960 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(
            attached_name("attachment; filename=\"a b.txt\"").as_deref(),
            Some("a b.txt")
        );
        assert_eq!(attached_name("inline; FileName=../x").as_deref(), Some("x"));
        for none in [
            "attachment",
            "attachment; filename=",
            "attachment; filename=a/",
            "a; filename=..",
        ] {
            assert_eq!(attached_name(none), None, "{none}");
        }
    }
}
