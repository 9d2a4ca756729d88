//! Talking to one registry: authentication, retries, errors.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::challenge::Challenge;
use super::error::{ERROR_LIMIT, Error, harmless, said};
use super::pause::Pauses;
use super::scope::Scopes;
use super::token::{Server, Token, login_hint};
use super::{Credentials, Endpoint};
use crate::http::{Http, HttpError, Method, Request, Response, Url};

/// Most tokens that are kept.
const TOKEN_COUNT: usize = 64;
/// Most warnings of registries that are kept.
const WARNING_COUNT: usize = 16;

/// What registries say beside their answers, each text once.
pub(super) type Warnings = Arc<Mutex<Vec<String>>>;

/// A registry at one host.
pub(super) struct Session {
    /// The name that users write.
    pub(super) host: String,
    /// What it is reached by; decided at the first request where there is a choice.
    base: Mutex<Option<Url>>,
    endpoint: Endpoint,
    pub(super) http: Http,
    credentials: Credentials,
    headers: Vec<(String, String)>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<Vec<Token>>,
    /// Held while a token is fetched, so that threads that need the same one ask once.
    fetching: Mutex<()>,
    warnings: Warnings,
    pub(super) pauses: Pauses,
}

/// What a request told of who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Nothing,
    Password,
    Token(String),
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
        warnings: Warnings,
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
            fetching: Mutex::new(()),
            warnings,
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

    /// Whether a URL is the registry's own, so that it may know who we are.
    pub(super) fn is_own(&self, url: &Url) -> Result<bool, Error> {
        Ok(self.base()?.same_origin(url))
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
        for again in 0..2 {
            let (response, shown) = self.attempt(call, body.as_deref_mut())?;
            // Another host, where an upload or a redirect led, may not ask who we are.
            if response.status != 401 || !self.is_own(&call.url)? {
                return Ok(response);
            }
            let header: Vec<&str> = response.all("www-authenticate").collect();
            let header = header.join(", ");
            // A new token that is refused once more says enough, unless it was out of date.
            let stale = header.contains("invalid_token");
            if (again > 0 && !stale) || !self.answer(&header, call, &shown)? {
                return Ok(response);
            }
        }
        Ok(self.attempt(call, body)?.0)
    }

    fn attempt(
        &self,
        call: &Call<'_>,
        body: Option<&mut BodySource<'_>>,
    ) -> Result<(Response, Shown), Error> {
        let mut request = Request::new(call.method, &call.url);
        for (name, value) in &call.headers {
            request = request.with(name, value.clone());
        }
        let mut shown = Shown::Nothing;
        // Our secrets are for the registry alone, wherever it sends an upload.
        let own = self.is_own(&call.url)?;
        if own {
            for (name, value) in &self.headers {
                request = request.with(name, value.clone());
            }
            let (what, authorization) = self.authorization(&call.scopes)?;
            shown = what;
            if let Some(authorization) = authorization {
                request = request.with("Authorization", authorization);
            }
        }
        let local = |source| Error::Local {
            what: format!("cannot read what is sent for {}", call.what),
            source,
        };
        let response = match body {
            None => self.http.send(request)?,
            Some(source) => {
                let mut reader = source().map_err(local)?;
                let body = match &mut reader {
                    Outgoing::Bytes(bytes) => crate::http::Body::Bytes(bytes),
                    Outgoing::Stream { reader, length } => crate::http::Body::Stream {
                        reader,
                        length: *length,
                    },
                };
                self.http.send(request.with_body(body))?
            }
        };
        if own {
            self.keep_warnings(&response);
        }
        Ok((response, shown))
    }

    /// Source: OCI distribution-spec 1.1, "Warnings".
    fn keep_warnings(&self, response: &Response) {
        for header in response.all("warning") {
            let text = header.trim().strip_prefix("299 - \"");
            let Some(text) = text.and_then(|text| text.strip_suffix('"')) else {
                continue;
            };
            self.warn(&harmless(text));
        }
    }

    /// Keeps something that the user is told at the end.
    pub(super) fn warn(&self, text: &str) {
        let text = format!("{}: {text}", self.host);
        let mut warnings = lock(&self.warnings);
        if warnings.len() < WARNING_COUNT && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// What the registry is told of who we are, as far as its challenge is known.
    fn authorization(&self, scopes: &Scopes) -> Result<(Shown, Option<String>), Error> {
        if let Credentials::Bearer(token) = &self.credentials {
            let header = format!("Bearer {token}");
            return Ok((Shown::Token(token.clone()), Some(header)));
        }
        let challenge = lock(&self.challenge).clone();
        match (challenge, &self.credentials) {
            (Some(Challenge::Basic), Credentials::Password { user, password }) => {
                let header = format!("Basic {}", super::credentials::basic(user, password));
                Ok((Shown::Password, Some(header)))
            }
            (Some(Challenge::Bearer { realm, service, .. }), _) => {
                let token = self.token(&realm, service.as_deref(), scopes)?;
                let header = format!("Bearer {}", token.text);
                Ok((Shown::Token(token.text), Some(header)))
            }
            _ => Ok((Shown::Nothing, None)),
        }
    }

    /// Takes up a challenge; whether trying again makes sense.
    fn answer(&self, header: &str, call: &Call<'_>, shown: &Shown) -> Result<bool, Error> {
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
            Challenge::Basic => Ok(*shown != Shown::Password),
            Challenge::Bearer {
                realm,
                service,
                scope,
                ..
            } => {
                if matches!(self.credentials, Credentials::Bearer(_)) {
                    return Ok(false);
                }
                let asked = Scopes::parse(scope.as_deref().unwrap_or_default()).union(&call.scopes);
                // A token that was sent and refused is not sent again.
                if let Shown::Token(text) = shown {
                    lock(&self.tokens).retain(|token| token.text != *text);
                }
                self.token(&realm, service.as_deref(), &asked)?;
                Ok(true)
            }
        }
    }

    /// A token that is known and good for `scopes`, else a new one.
    fn token(&self, realm: &str, service: Option<&str>, scopes: &Scopes) -> Result<Token, Error> {
        let known = || {
            let tokens = lock(&self.tokens);
            let fits = |token: &&Token| token.is_fresh() && token.scopes.covers(scopes);
            tokens.iter().find(fits).cloned()
        };
        if let Some(token) = known() {
            return Ok(token);
        }
        let _turn = lock(&self.fetching);
        match known() {
            Some(token) => Ok(token),
            None => self.fetch(realm, service, scopes),
        }
    }

    /// Gets a token from the token server and keeps it.
    fn fetch(&self, realm: &str, service: Option<&str>, scopes: &Scopes) -> Result<Token, Error> {
        let realm = self.realm(realm)?;
        let server = Server {
            host: &self.host,
            realm: &realm,
            service,
            pauses: &self.pauses,
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
        self.refuse_inward(&self.host, &realm)?;
        Ok(realm)
    }

    /// A registry elsewhere has no business with services of this machine and of
    /// the cloud that it runs in.
    pub(super) fn refuse_inward(&self, what: &str, url: &Url) -> Result<(), Error> {
        let base = self.base()?;
        let inward = |url: &Url| {
            let loopback = super::settings::is_loopback(url.authority());
            loopback || url.is_link_local()
        };
        if inward(url) && !inward(&base) && !self.http.is_proxied(url) {
            let why = format!("it sends us to `{url}`, which would be this machine or its cloud");
            return Err(Error::protocol(what, why));
        }
        Ok(())
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
        let typed = |why: &str| Error::Unauthorized {
            host: self.host.clone(),
            why: why.to_owned(),
            hint: "check the user name and the password".to_owned(),
        };
        let response = match self.call(&call) {
            // The token server refused what was typed a moment ago.
            Err(Error::Unauthorized { why, .. }) => return Err(typed(&why)),
            other => other?,
        };
        if response.status == 401 {
            return Err(typed("incorrect username or password"));
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
            pauses: &self.pauses,
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
            // It got a token, so it knows who we are: the token did not allow it.
            401 if self.has_token() => Error::Denied {
                what,
                why: "requested access to the resource is denied".to_owned(),
                hint: denied_hint(&host),
            },
            401 => Error::Unauthorized { host, why, hint },
            403 if push || self.credentials != Credentials::Anonymous => Error::Denied {
                what,
                why,
                hint: denied_hint(&host),
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
            429 => Error::TooMany {
                host,
                why: format!("{why}{}", limits(&response)),
            },
            status => Error::Status { what, status, why },
        })
    }

    /// Whether tokens that were given for credentials are what the registry refuses.
    fn has_token(&self) -> bool {
        let bearer = matches!(*lock(&self.challenge), Some(Challenge::Bearer { .. }));
        bearer && self.credentials != Credentials::Anonymous
    }
}

/// What to do about rights that somebody known does not have.
fn denied_hint(host: &str) -> String {
    let login = match host {
        "docker.io" => "rbuild login".to_owned(),
        host => format!("rbuild login {host}"),
    };
    format!(
        "check that the repository is yours and its name is right, or log in as somebody else with `{login}`"
    )
}

/// What an answer says of the limits on requests, in brackets.
fn limits(response: &Response) -> String {
    let mut parts = Vec::new();
    for (name, what) in [
        ("ratelimit-limit", "limit"),
        ("ratelimit-remaining", "remaining"),
        ("retry-after", "try again after"),
    ] {
        if let Some(value) = response.header(name) {
            let value: String = harmless(value).chars().take(40).collect();
            parts.push(format!("{what} {value}"));
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    format!(" ({})", parts.join(", "))
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

/// Whether a handshake failed because of a certificate, so that the server does speak TLS.
fn is_certificate_trouble(why: &str) -> bool {
    why.to_ascii_lowercase().contains("certificate")
}
