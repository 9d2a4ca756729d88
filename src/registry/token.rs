//! Access tokens: asked for at the token server that a registry names.
//!
//! Source: distribution's "Token authentication" and "OAuth2 token authentication".

use std::io::Read;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Credentials;
use super::error::{ERROR_LIMIT, Error, said};
use super::pause::Pauses;
use super::retry::{again, read_whole, until_answered};
use super::scope::Scopes;
use crate::http::{Body, Http, Method, Request, Response, Url};

/// Largest token document that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 1 << 20;
/// Longest token that is sent on, in bytes; servers take heads of some ten thousand.
const TOKEN_LIMIT: usize = 64 << 10;
/// How long the document of a token may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a token is good when the server does not say.
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// A token this close to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// Who asks, for servers that keep a list of clients.
const CLIENT: &str = "rbuild";

/// A token and what it is good for.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) scopes: Scopes,
    expires: Instant,
    /// A token that can be exchanged for others without a password.
    pub(super) refresh: Option<String>,
}

impl Token {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.expires
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// A token server, as a challenge names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'a> {
    /// The registry, for messages.
    pub(super) host: &'a str,
    pub(super) realm: &'a Url,
    pub(super) service: Option<&'a str>,
    pub(super) pauses: &'a Pauses,
}

impl Server<'_> {
    /// Asks for a token with these rights. `offline` asks for a refresh token too.
    pub(super) fn token(
        &self,
        http: &Http,
        credentials: &Credentials,
        scopes: &Scopes,
        offline: bool,
    ) -> Result<Token, Error> {
        let ask = || match credentials {
            Credentials::Identity(refresh) => self.post(http, scopes, refresh),
            Credentials::Password { user, password } => {
                let basic = super::credentials::basic(user, password);
                self.get(http, scopes, Some((user, basic)), offline)
            }
            Credentials::Anonymous | Credentials::Bearer(_) => self.get(http, scopes, None, false),
        };
        let answer: Answer = again(self.pauses, || {
            let response = until_answered(self.pauses, ask)?;
            self.read(self.checked(response, credentials)?)
        })?;
        let text = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(self.broken("its token server sent no token"));
        }
        if text.len() > TOKEN_LIMIT {
            let why = format!("its token server sent a token of {} bytes", text.len());
            return Err(self.broken(&why));
        }
        let life = answer.expires_in.map_or(DEFAULT_LIFE, |seconds| {
            Duration::from_secs(seconds.min(86_400))
        });
        Ok(Token {
            text,
            scopes: scopes.clone(),
            expires: Instant::now() + life.saturating_sub(MARGIN).max(Duration::from_secs(1)),
            refresh: answer.refresh_token.filter(|token| !token.is_empty()),
        })
    }

    fn get(
        &self,
        http: &Http,
        scopes: &Scopes,
        user: Option<(&str, String)>,
        offline: bool,
    ) -> Result<Response, Error> {
        let mut url = self.realm.clone();
        if let Some(service) = self.service {
            url = url.with_query("service", service);
        }
        for scope in scopes.iter() {
            url = url.with_query("scope", &scope);
        }
        let mut headers = Vec::new();
        if let Some((user, basic)) = user {
            url = url.with_query("account", user);
            headers.push(("Authorization", format!("Basic {basic}")));
        }
        if offline {
            url = url
                .with_query("offline_token", "true")
                .with_query("client_id", CLIENT);
        }
        Ok(http.get(&url, &headers)?.1)
    }

    fn post(&self, http: &Http, scopes: &Scopes, refresh: &str) -> Result<Response, Error> {
        let form = Url::parse("http://form/")?
            .with_query("grant_type", "refresh_token")
            .with_query("service", self.service.unwrap_or_default())
            .with_query("client_id", CLIENT)
            .with_query("scope", &scopes.to_string())
            .with_query("refresh_token", refresh)
            .to_string();
        let form = form.split_once('?').map_or("", |(_, form)| form);
        let request = Request::new(Method::Post, self.realm)
            .with("Content-Type", "application/x-www-form-urlencoded")
            .with_body(Body::Bytes(form.as_bytes()));
        Ok(http.send(request)?)
    }

    fn checked(
        &self,
        mut response: Response,
        credentials: &Credentials,
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
        let host = self.host.to_owned();
        Err(match response.status {
            401 | 403 | 400 => Error::Unauthorized {
                hint: login_hint(&host, credentials),
                host,
                why,
            },
            429 => Error::TooMany { host, why },
            status => Error::Status {
                what: format!("token server of {host}"),
                status,
                why,
            },
        })
    }

    fn read(&self, mut response: Response) -> Result<Answer, Error> {
        let what = format!("token server of {}", self.host);
        let body = read_whole(&mut response, DOCUMENT_LIMIT, &what, PATIENCE)?;
        serde_json::from_slice(&body)
            .map_err(|_| self.broken("its token server sent no token document"))
    }

    fn broken(&self, why: &str) -> Error {
        Error::Protocol {
            what: self.host.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// What to do about being refused.
pub(super) fn login_hint(host: &str, credentials: &Credentials) -> String {
    let host = if host == "docker.io" {
        String::new()
    } else {
        format!(" {host}")
    };
    match credentials {
        Credentials::Anonymous => format!("log in with `rbuild login{host}`"),
        _ => format!("the saved credentials were refused: log in again with `rbuild login{host}`"),
    }
}
