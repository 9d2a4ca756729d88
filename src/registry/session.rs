//! Talking to one registry: authentication, retries, errors.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::challenge::Challenge;
use super::error::{ERROR_LIMIT, Error, said};
use super::pause::Pauses;
use super::scope::Scopes;
use super::token::{Server, Token, login_hint};
use super::{Credentials, Endpoint};
use crate::http::{Http, HttpError, Method, Request, Response, Url};

/// How often a request that may be repeated is sent.
const ATTEMPTS: u32 = 5;
/// The first pause between attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that a registry's `Retry-After` is granted.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);
/// Most tokens that are kept.
const TOKEN_COUNT: usize = 64;

/// A registry at one host.
pub(super) struct Session {
    /// The name that users write.
    pub(super) host: String,
    /// What it is reached by; decided at the first request where there is a choice.
    base: Mutex<Option<Url>>,
    endpoint: Endpoint,
    http: Http,
    credentials: Credentials,
    headers: Vec<(String, String)>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<Vec<Token>>,
    pauses: Pauses,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// One request, its path beneath the registry's root.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) scopes: Scopes,
    /// What it is about, for messages.
    pub(super) what: String,
}

impl Session {
    pub(super) fn new(
        host: &str,
        endpoint: Endpoint,
        http: Http,
        credentials: Credentials,
        headers: Vec<(String, String)>,
    ) -> Self {
        Self {
            host: host.to_owned(),
            base: Mutex::new(None),
            endpoint,
            http,
            credentials,
            headers,
            challenge: Mutex::new(None),
            tokens: Mutex::new(Vec::new()),
            pauses: Pauses::default(),
        }
    }

    /// Cuts every connection; nothing is tried again.
    pub(super) fn close(&self) {
        self.pauses.end();
        self.http.close();
    }

    /// The URL of a path beneath the registry's root.
    pub(super) fn url(&self, path: &str) -> Result<Url, Error> {
        let url = self.base()?.join(path)?;
        Ok(match &self.endpoint.mirror_of {
            Some(origin) => url.with_query("ns", origin),
            None => url,
        })
    }

    /// By what the registry is reached: a loopback one may speak TLS or not, so it is asked.
    fn base(&self) -> Result<Url, Error> {
        let mut base = lock(&self.base);
        if let Some(base) = &*base {
            return Ok(base.clone());
        }
        let mut found = Url::parse(&format!("{}/", self.endpoint.base()))?;
        if self.endpoint.either_way {
            let secure = Url::parse(&format!("https://{}/", self.endpoint.host))?;
            let probe = secure.join("/v2/")?;
            match self.http.send(Request::get(&probe)) {
                Ok(_) => found = secure,
                Err(HttpError::Tls { why, .. }) if is_certificate_trouble(&why) => found = secure,
                Err(_) => {}
            }
        }
        Ok(base.insert(found).clone())
    }

    /// Sends a request without a body, again where that may help.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Response, Error> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let error = match self.send(call, None) {
                Ok(response) if !is_busy(response.status) || attempt == ATTEMPTS => {
                    return Ok(response);
                }
                Ok(response) => {
                    pause = retry_after(&response).unwrap_or(pause).min(PAUSE_LIMIT);
                    None
                }
                Err(err) if self.pauses.is_over() => return Err(err),
                Err(err) if err.is_passing() && attempt < ATTEMPTS => Some(err),
                Err(err) => return Err(err),
            };
            drop(error);
            self.pauses.pause(pause);
            pause = (pause * 2).min(PAUSE_LIMIT);
        }
        unreachable!("the last attempt returns")
    }

    /// Sends a request once, authenticated; a second time with a new token when it is asked for one.
    ///
    /// `body` gives the bytes to send; it is called once for each time.
    pub(super) fn send(
        &self,
        call: &Call<'_>,
        mut body: Option<&mut BodySource<'_>>,
    ) -> Result<Response, Error> {
        // A body that cannot be sent twice must find the door open.
        // What it is sent with; another thread may learn more meanwhile.
        let known = lock(&self.challenge).clone();
        let mut response = self.attempt(call, body.as_deref_mut())?;
        if response.status == 401 {
            let header: Vec<String> = response
                .all("www-authenticate")
                .map(str::to_owned)
                .collect();
            drop(std::mem::replace(
                &mut response.body,
                Box::new(std::io::empty()),
            ));
            if self.answer(&header.join(", "), call, known.as_ref())? {
                response = self.attempt(call, body)?;
            }
        }
        Ok(response)
    }

    fn attempt(
        &self,
        call: &Call<'_>,
        body: Option<&mut BodySource<'_>>,
    ) -> Result<Response, Error> {
        let mut request = Request::new(call.method, &call.url);
        for (name, value) in &call.headers {
            request = request.with(name, value.clone());
        }
        // Our secrets are for the registry alone, wherever it sends an upload.
        if self.base()?.same_origin(&call.url) {
            for (name, value) in &self.headers {
                request = request.with(name, value.clone());
            }
            if let Some(authorization) = self.authorization(&call.scopes)? {
                request = request.with("Authorization", authorization);
            }
        }
        let local = |source| Error::Local {
            what: format!("cannot read what is sent for {}", call.what),
            source,
        };
        match body {
            None => Ok(self.http.send(request)?),
            Some(source) => {
                let mut reader = source().map_err(local)?;
                let body = match &mut reader {
                    Outgoing::Bytes(bytes) => crate::http::Body::Bytes(bytes),
                    Outgoing::Stream { reader, length } => crate::http::Body::Stream {
                        reader,
                        length: *length,
                    },
                };
                Ok(self.http.send(request.with_body(body))?)
            }
        }
    }

    /// What the registry is told of who we are, as far as its challenge is known.
    fn authorization(&self, scopes: &Scopes) -> Result<Option<String>, Error> {
        if let Credentials::Bearer(token) = &self.credentials {
            return Ok(Some(format!("Bearer {token}")));
        }
        let challenge = lock(&self.challenge).clone();
        match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Credentials::Password { user, password }) => Ok(Some(
                format!("Basic {}", super::credentials::basic(user, password)),
            )),
            (Some(Challenge::Bearer { realm, service, .. }), _) => {
                let known = lock(&self.tokens)
                    .iter()
                    .find(|token| token.is_fresh() && token.scopes.covers(scopes))
                    .cloned();
                let token = match known {
                    Some(token) => token,
                    None => self.fetch(&realm, service.as_deref(), scopes)?,
                };
                Ok(Some(format!("Bearer {}", token.text)))
            }
            _ => Ok(None),
        }
    }

    /// Takes up a challenge; whether trying again makes sense.
    /// `known` is the challenge that was known when the request was sent.
    fn answer(
        &self,
        header: &str,
        call: &Call<'_>,
        known: Option<&Challenge>,
    ) -> Result<bool, Error> {
        let refused = |why: &str| Error::Unauthorized {
            host: self.host.clone(),
            why: why.to_owned(),
            hint: login_hint(&self.host, &self.credentials),
        };
        let challenges = Challenge::parse(header);
        let bearer = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(challenge) = bearer.or(challenges.first()).cloned() else {
            return Err(refused("the registry names no way to authenticate"));
        };
        *lock(&self.challenge) = Some(challenge.clone());
        match challenge {
            Challenge::Basic if !matches!(self.credentials, Credentials::Password { .. }) => {
                Err(refused("authentication required"))
            }
            Challenge::Basic if known == Some(&Challenge::Basic) => {
                Err(refused("the user name or the password is wrong"))
            }
            Challenge::Basic => Ok(true),
            Challenge::Bearer {
                realm,
                service,
                scope,
                ..
            } => {
                let asked = Scopes::parse(scope.as_deref().unwrap_or_default()).union(&call.scopes);
                // A token with all of that was sent and refused: it is not asked for again.
                lock(&self.tokens).retain(|token| !token.scopes.covers(&asked));
                self.fetch(&realm, service.as_deref(), &asked)?;
                Ok(true)
            }
        }
    }

    /// Gets a token from the token server and keeps it.
    fn fetch(&self, realm: &str, service: Option<&str>, scopes: &Scopes) -> Result<Token, Error> {
        let realm = self.realm(realm)?;
        let server = Server {
            host: &self.host,
            realm: &realm,
            service,
        };
        let token = server.token(&self.http, &self.credentials, scopes, false)?;
        let mut tokens = lock(&self.tokens);
        tokens.retain(Token::is_fresh);
        if tokens.len() == TOKEN_COUNT {
            tokens.remove(0);
        }
        tokens.push(token.clone());
        Ok(token)
    }

    /// The token server's URL. A password goes there: never from an encrypted
    /// registry to a server without encryption.
    fn realm(&self, text: &str) -> Result<Url, Error> {
        let wrong = |why: String| Error::Protocol {
            what: self.host.clone(),
            why,
        };
        let base = self.base()?;
        let realm = base
            .join(text)
            .map_err(|err| wrong(format!("its token server: {err}")))?;
        if base.is_tls() && !realm.is_tls() {
            return Err(wrong(format!(
                "its token server `{realm}` is not encrypted"
            )));
        }
        let loopback = |url: &Url| super::settings::is_loopback(url.authority());
        if loopback(&realm) && !loopback(&base) {
            return Err(wrong(format!(
                "its token server `{realm}` would be this machine"
            )));
        }
        Ok(realm)
    }

    /// Logs in: asks for the root of the API, and for a refresh token where there is a token server.
    /// Returns what is to be kept.
    pub(super) fn log_in(&self) -> Result<Credentials, Error> {
        let call = Call {
            method: Method::Get,
            url: self.url("/v2/")?,
            headers: Vec::new(),
            scopes: Scopes::default(),
            what: self.host.clone(),
        };
        let response = self.send(&call, None)?;
        if response.status == 401 {
            return Err(Error::Unauthorized {
                host: self.host.clone(),
                why: "incorrect username or password".to_owned(),
                hint: "check the user name and the password".to_owned(),
            });
        }
        self.check(response, &call.what, false)?;
        let challenge = lock(&self.challenge).clone();
        let Some(Challenge::Bearer { realm, service, .. }) = challenge else {
            return Ok(self.credentials.clone());
        };
        let realm = self.realm(&realm)?;
        let server = Server {
            host: &self.host,
            realm: &realm,
            service: service.as_deref(),
        };
        let token = server.token(&self.http, &self.credentials, &Scopes::default(), true)?;
        Ok(match token.refresh {
            Some(refresh) => Credentials::Identity(refresh),
            None => self.credentials.clone(),
        })
    }

    /// The response if it says that it worked, else what it says as an error.
    pub(super) fn check(
        &self,
        mut response: Response,
        what: &str,
        push: bool,
    ) -> Result<Response, Error> {
        if response.is_success() {
            return Ok(response);
        }
        let mut body = Vec::new();
        // What cannot be read of an error is not missed.
        let _incomplete = (&mut response.body)
            .take(ERROR_LIMIT)
            .read_to_end(&mut body);
        let why = said(response.status, &body);
        let (what, host) = (what.to_owned(), self.host.clone());
        let hint = login_hint(&host, &self.credentials);
        Err(match response.status {
            401 => Error::Unauthorized { host, why, hint },
            403 if push => Error::Denied {
                what,
                why,
                hint: format!(
                    "check that the repository is yours and the name is right; else {hint}"
                ),
            },
            403 => Error::Denied { what, why, hint },
            404 => Error::NotFound {
                what,
                why: if body.is_empty() {
                    String::new()
                } else {
                    format!(": {why}")
                },
            },
            429 => Error::TooMany { host, why },
            status => Error::Status { what, status, why },
        })
    }
}

/// What is sent with a request.
pub(super) enum Outgoing<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A stream to its end; its length where it is known.
    Stream {
        reader: Box<dyn Read + Send + 'a>,
        length: Option<u64>,
    },
}

/// Gives what is sent, from its beginning, each time it is called.
pub(super) type BodySource<'a> = dyn FnMut() -> std::io::Result<Outgoing<'a>> + 'a;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds; a date is not worth its parser here.
fn retry_after(response: &Response) -> Option<Duration> {
    response
        .header("retry-after")?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Whether a handshake failed because of a certificate, so that the server does speak TLS.
fn is_certificate_trouble(why: &str) -> bool {
    why.to_ascii_lowercase().contains("certificate")
}
