//! Who may do what: everybody, the users of an htpasswd file, and holders of
//! tokens that we sign ourselves for those users.

mod htpasswd;
mod token;

use std::sync::Arc;

pub use htpasswd::{AccessError, Htpasswd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::token::{Granted, Signer};
use super::refusal::{Code, Refusal};
use crate::serve::{Content, Method, Request, Response};

/// What users are told they log in to.
const REALM: &str = "rbuild registry";
/// The name that tokens are for.
const SERVICE: &str = "rbuild-registry";
/// Largest form that asks for a token, in bytes.
const FORM_LIMIT: u64 = 64 << 10;

/// Who may do what.
#[derive(Debug)]
pub struct Access {
    mode: Mode,
    anonymous_pull: bool,
}

#[derive(Debug)]
enum Mode {
    Open,
    Basic(Arc<Htpasswd>),
    Token(Arc<Htpasswd>, Signer),
}

/// Something that can be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Pull,
    Push,
    Delete,
}

impl Right {
    fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// What a token must be asked for, to have this right.
    fn scope(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "delete",
        }
    }
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need<'a> {
    /// To be somebody.
    Nothing,
    /// The list of repositories.
    Catalog,
    /// A right in a repository.
    Repository(&'a str, Right),
}

impl Need<'_> {
    fn is_pull(self) -> bool {
        matches!(self, Self::Catalog | Self::Repository(_, Right::Pull))
    }

    fn scope(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Catalog => Some("registry:catalog:*".to_owned()),
            Self::Repository(name, right) => Some(format!("repository:{name}:{}", right.scope())),
        }
    }
}

/// Somebody who was let in.
#[derive(Debug)]
pub(super) struct Caller {
    /// What the token allows; `None` for everything.
    granted: Option<Granted>,
    anonymous: bool,
}

impl Caller {
    /// Whether this one may do something else as well.
    pub(super) fn may(&self, repository: &str, right: Right) -> bool {
        match &self.granted {
            Some(granted) => granted.allows("repository", repository, right.name()),
            None => !self.anonymous || right == Right::Pull,
        }
    }
}

impl Access {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self {
            mode: Mode::Open,
            anonymous_pull: true,
        }
    }

    /// Users of the file may do everything, with their password on each request;
    /// others may pull when `anonymous_pull`, else nothing.
    pub fn basic(users: Htpasswd, anonymous_pull: bool) -> Self {
        Self {
            mode: Mode::Basic(Arc::new(users)),
            anonymous_pull,
        }
    }

    /// The same with tokens, which are given out at `/token`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn token(users: Htpasswd, anonymous_pull: bool) -> Result<Self, AccessError> {
        Ok(Self {
            mode: Mode::Token(Arc::new(users), Signer::new()?),
            anonymous_pull,
        })
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open)
    }

    /// Who asks, when that one may do what is needed.
    pub(super) fn check(
        &self,
        request: &Request<'_>,
        need: Need<'_>,
        base: &dyn Fn() -> String,
    ) -> Result<Caller, Refusal> {
        let authorization = request.header("authorization");
        let anonymous = || Caller {
            granted: None,
            anonymous: true,
        };
        match &self.mode {
            Mode::Open => Ok(Caller {
                granted: None,
                anonymous: false,
            }),
            Mode::Basic(users) => {
                let challenge = || unauthorized(&format!("Basic realm=\"{REALM}\""));
                // podman sends an empty name and password when it has none.
                let named = authorization.map(basic);
                match named.filter(|who| *who != Some(Default::default())) {
                    None if self.anonymous_pull && need.is_pull() => Ok(anonymous()),
                    None => Err(challenge()),
                    Some(who) => match who {
                        Some((user, password)) if users.verify(&user, &password) => Ok(Caller {
                            granted: None,
                            anonymous: false,
                        }),
                        _ => Err(challenge()),
                    },
                }
            }
            Mode::Token(_, signer) => {
                let challenge = |error: &str| {
                    let mut text =
                        format!("Bearer realm=\"{}/token\",service=\"{SERVICE}\"", base());
                    if let Some(scope) = need.scope() {
                        text.push_str(&format!(",scope=\"{scope}\""));
                    }
                    if !error.is_empty() {
                        text.push_str(&format!(",error=\"{error}\""));
                    }
                    unauthorized(&text)
                };
                let Some(header) = authorization else {
                    return if self.anonymous_pull && need.is_pull() {
                        Ok(anonymous())
                    } else {
                        Err(challenge(""))
                    };
                };
                let granted = credentials(header, "bearer")
                    .and_then(|token| signer.read(token))
                    .ok_or_else(|| challenge("invalid_token"))?;
                let allowed = match need {
                    Need::Nothing => true,
                    Need::Catalog => granted.allows("registry", "catalog", "*"),
                    Need::Repository(name, right) => {
                        granted.allows("repository", name, right.name())
                    }
                };
                if !allowed {
                    return Err(challenge("insufficient_scope"));
                }
                Ok(Caller {
                    granted: Some(granted),
                    anonymous: false,
                })
            }
        }
    }

    /// Answers a request for a token.
    ///
    /// Source: Docker Registry v2 authentication, "Token authentication" and "OAuth2".
    pub(super) fn issue(
        &self,
        request: &mut Request<'_>,
        read_only: bool,
    ) -> Result<Response, Refusal> {
        let Mode::Token(users, signer) = &self.mode else {
            return Err(Refusal::new(Code::NameUnknown, "there is nothing here"));
        };
        let malformed = |why: &str| Refusal::new(Code::Malformed, why.to_owned());
        let (who, scopes) = match request.method {
            Method::Get | Method::Head => {
                let who = match request.header("authorization") {
                    Some(header) => Some(basic(header).ok_or_else(basic_challenge)?),
                    None => None,
                };
                (who, request.query_all("scope").map(str::to_owned).collect())
            }
            Method::Post => {
                let body = request.read_all(FORM_LIMIT).ok().flatten();
                let form = body.and_then(|body| Request::form(&body));
                let form = form.ok_or_else(|| malformed("the form cannot be read"))?;
                let get = |name: &str| {
                    let found = form.iter().find(|(own, _)| own == name);
                    found.map(|(_, value)| value.clone())
                };
                if get("grant_type").as_deref() != Some("password") {
                    return Err(malformed("only the grant type `password` is known"));
                }
                let who = get("username").zip(get("password"));
                (
                    Some(who.ok_or_else(basic_challenge)?),
                    get("scope").into_iter().collect::<Vec<String>>(),
                )
            }
            _ => return Err(Refusal::method(&request.method)),
        };
        let rights: &[&str] = match &who {
            Some((user, password)) if users.verify(user, password) => {
                if read_only {
                    &["pull"]
                } else {
                    &["pull", "push", "delete"]
                }
            }
            None if self.anonymous_pull => &["pull"],
            _ => return Err(basic_challenge()),
        };
        let granted = Granted::of(&scopes, rights)
            .ok_or_else(|| malformed("the scope cannot be read, or has too many parts"))?;
        let user = who.map(|(user, _)| user).unwrap_or_default();
        Ok(Response::new(200)
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store")
            .carrying(Content::Bytes(signer.answer(&user, &granted))))
    }
}

fn basic_challenge() -> Refusal {
    unauthorized(&format!("Basic realm=\"{REALM}\""))
}

fn unauthorized(challenge: &str) -> Refusal {
    Refusal::new(Code::Unauthorized, "authentication required").with("WWW-Authenticate", challenge)
}

/// What comes after the scheme of an `Authorization` header.
fn credentials<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (own, rest) = header.split_once(' ')?;
    own.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

fn basic(header: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(credentials(header, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
