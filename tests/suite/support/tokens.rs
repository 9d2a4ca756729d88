//! A token server, as registries send their clients to: it says who may do what.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::http::{Answer, Asked, HttpServer, form};
use super::registry::{PASSWORD, USER};
use super::run_piped;

/// The registry's name and the token server's, as both know them.
pub(super) const SERVICE: &str = "test-registry";
pub(super) const ISSUER: &str = "test-issuer";

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// `anonymous`, `basic`, `password` or `refresh_token`.
    pub(crate) kind: &'static str,
    /// The scopes, one each.
    pub(crate) scopes: Vec<String>,
    /// Whether a refresh token was asked for.
    pub(crate) offline: bool,
    /// Whether it got a token.
    pub(crate) granted: bool,
}

#[derive(Debug)]
struct State {
    grants: Vec<Grant>,
    /// So many tokens are out of date when they are given.
    stale: u32,
    /// How long tokens are good, as clients are told.
    life_seconds: u64,
    /// Whether `/token` offers refresh tokens.
    offers_refresh: bool,
    revoked: bool,
}

/// The server; it ends with this value.
///
/// `tester` may do everything but push to `readonly/...` and anything in
/// `forbidden/...`; who has no name may pull `public/...`.
#[derive(Debug)]
pub(crate) struct TokenServer {
    http: HttpServer,
    state: Arc<Mutex<State>>,
}

/// The refresh token that `tester` gets.
pub(crate) const REFRESH: &str = "refresh-token-of-tester";

impl TokenServer {
    /// Starts it; `certificate` and `key` sign the tokens.
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        let state = Arc::new(Mutex::new(State {
            grants: Vec::new(),
            stale: 0,
            life_seconds: 300,
            offers_refresh: true,
            revoked: false,
        }));
        let pem = std::fs::read_to_string(certificate).expect("it was made");
        let der: String = pem.lines().filter(|line| !line.contains('-')).collect();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
        let signer = Signer {
            header: header.to_string(),
            key: key.to_owned(),
        };
        let own = Arc::clone(&state);
        let http = HttpServer::plain(move |asked| answer(asked, &own, &signer));
        Self { http, state }
    }

    /// The URL that a registry names.
    pub(crate) fn realm(&self) -> String {
        self.http.url("/token")
    }

    /// What was asked for since the last time.
    pub(crate) fn take_grants(&self) -> Vec<Grant> {
        std::mem::take(&mut self.lock().grants)
    }

    /// The next `count` tokens are out of date when they are given.
    pub(crate) fn make_stale(&self, count: u32) {
        self.lock().stale = count;
    }

    /// How long clients are told that tokens are good.
    pub(crate) fn set_life(&self, seconds: u64) {
        self.lock().life_seconds = seconds;
    }

    /// Refresh tokens are good no more.
    pub(crate) fn revoke(&self) {
        self.lock().revoked = true;
    }

    /// Whether clients that ask for it get a refresh token.
    pub(crate) fn offer_refresh(&self, offers: bool) {
        self.lock().offers_refresh = offers;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("answering does not fail")
    }
}

struct Signer {
    header: String,
    key: PathBuf,
}

impl Signer {
    fn sign(&self, claims: &Value) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text = format!(
            "{}.{}",
            encode(self.header.as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let key = self.key.display().to_string();
        let arguments = ["dgst", "-sha256", "-sign", &key];
        let signature = run_piped("openssl", &arguments, text.as_bytes());
        format!("{text}.{}", encode(&signature))
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Somebody who is not let in.
    Refused,
    /// Somebody without a name.
    Anonymous,
    /// The only user.
    Tester,
}

impl Who {
    fn tester_if(good: bool) -> Self {
        if good { Self::Tester } else { Self::Refused }
    }
}

/// A request for a token, understood.
struct Wish {
    kind: &'static str,
    who: Who,
    scopes: Vec<String>,
    offline: bool,
}

/// Whether these are the name and the password of the only user.
fn known(name: &str, password: &str) -> Who {
    Who::tester_if((name, password) == (USER, PASSWORD))
}

fn understand(asked: &Asked, revoked: bool) -> Option<Wish> {
    if asked.method == "GET" {
        let basic = asked.basic();
        let service = asked.query("service") == [SERVICE];
        let (kind, who) = match &basic {
            Some((name, password)) => ("basic", known(name, password)),
            None => ("anonymous", Who::Anonymous),
        };
        return Some(Wish {
            kind,
            who: if service { who } else { Who::Refused },
            scopes: asked.query("scope"),
            offline: asked.query("offline_token") == ["true"],
        });
    }
    let fields = form(&String::from_utf8_lossy(&asked.body));
    let field = |name: &str| {
        let found = fields.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let (kind, who) = match field("grant_type") {
        "refresh_token" => {
            let good = field("refresh_token") == REFRESH && !revoked;
            ("refresh_token", Who::tester_if(good))
        }
        "password" => ("password", known(field("username"), field("password"))),
        _ => return None,
    };
    let scopes = field("scope").split(' ').filter(|scope| !scope.is_empty());
    Some(Wish {
        kind,
        who: if field("service") == SERVICE {
            who
        } else {
            Who::Refused
        },
        scopes: scopes.map(str::to_owned).collect(),
        offline: field("access_type") == "offline" || kind == "refresh_token",
    })
}

fn answer(asked: &Asked, state: &Mutex<State>, signer: &Signer) -> Answer {
    let mut state = state.lock().expect("nobody panics");
    let Some(wish) = understand(asked, state.revoked) else {
        return Answer::new(400);
    };
    state.grants.push(Grant {
        kind: wish.kind,
        scopes: wish.scopes.clone(),
        offline: wish.offline,
        granted: wish.who != Who::Refused,
    });
    if wish.who == Who::Refused {
        let why = "incorrect username or password";
        let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": why}]});
        return Answer::new(401).body(body.to_string());
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    // A registry lets a minute pass after the end.
    let (begin, end) = if state.stale > 0 {
        (now - 7200, now - 3600)
    } else {
        (now - 60, now + 3600)
    };
    state.stale = state.stale.saturating_sub(1);
    let access = wish
        .scopes
        .iter()
        .filter_map(|scope| rights(scope, wish.who));
    let token = signer.sign(&json!({
        "iss": ISSUER, "sub": if wish.who == Who::Tester { USER } else { "" }, "aud": SERVICE,
        "iat": begin, "nbf": begin, "exp": end,
        "jti": STANDARD.encode(format!("{now}{}", state.grants.len())),
        "access": access.collect::<Vec<_>>(),
    }));
    let mut document =
        json!({"token": token, "access_token": token, "expires_in": state.life_seconds});
    if wish.offline && wish.who == Who::Tester && state.offers_refresh {
        document["refresh_token"] = json!(REFRESH);
    }
    Answer::new(200)
        .with("Content-Type", "application/json")
        .body(document.to_string())
}

/// What of a scope somebody gets.
fn rights(scope: &str, who: Who) -> Option<Value> {
    let (rest, actions) = scope.rsplit_once(':')?;
    let (kind, name) = rest.split_once(':')?;
    let may = |action: &str| match who {
        Who::Tester if name.starts_with("forbidden/") => false,
        Who::Tester => action == "pull" || !name.starts_with("readonly/"),
        _ => action == "pull" && name.starts_with("public/"),
    };
    let actions: Vec<&str> = actions.split(',').filter(|action| may(action)).collect();
    (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
}
