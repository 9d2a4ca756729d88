//! Tokens: what they allow, signed with a key of this process.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::htpasswd::{AccessError, new_key};

/// How long a token lasts, in seconds.
const LIFE: u64 = 300;
/// Most things that one token is for.
const SCOPES: usize = 100;
/// Longest token that is read, in bytes.
const TOKEN_LIMIT: usize = 48 << 10;

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted(Vec<Grant>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Granted {
    /// What of these scopes is given to somebody with `rights`; `None` when a scope is malformed.
    pub(super) fn of(scopes: &[String], rights: &[&str]) -> Option<Self> {
        let scopes: Vec<&str> = scopes.iter().flat_map(|one| one.split(' ')).collect();
        let scopes = scopes.into_iter().filter(|one| !one.is_empty());
        let mut grants = Vec::new();
        for scope in scopes {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            if grants.len() >= SCOPES || name.len() > 300 {
                return None;
            }
            let mut actions: Vec<&str> = actions.split(',').collect();
            let kind = match kind {
                "repository" => {
                    if actions.contains(&"*") {
                        actions = rights.to_vec();
                    }
                    actions.retain(|action| rights.contains(action));
                    kind
                }
                // Everybody who may pull may see what there is.
                "registry" if name == "catalog" => {
                    actions = vec!["*"];
                    kind
                }
                // Others are unknown, which is no reason to refuse the rest.
                _ => continue,
            };
            grants.push(Grant {
                kind: kind.to_owned(),
                name: name.to_owned(),
                actions: actions.into_iter().map(str::to_owned).collect(),
            });
        }
        Some(Self(grants))
    }

    /// Whether something is allowed.
    pub(super) fn allows(&self, kind: &str, name: &str, action: &str) -> bool {
        self.0.iter().any(|grant| {
            grant.kind == kind
                && grant.name == name
                && grant.actions.iter().any(|own| own == action)
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "sub")]
    user: String,
    #[serde(rename = "exp")]
    expires: u64,
    access: Granted,
}

/// Signs tokens and knows its own again.
pub(super) struct Signer(hmac::Key);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(***)")
    }
}

impl Signer {
    pub(super) fn new() -> Result<Self, AccessError> {
        new_key().map(Self)
    }

    fn sign(&self, user: &str, granted: &Granted, expires: u64) -> String {
        let claims = json!({"sub": user, "exp": expires, "access": granted});
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        let tag = hmac::sign(&self.0, payload.as_bytes());
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The document that a client gets.
    pub(super) fn answer(&self, user: &str, granted: &Granted) -> Vec<u8> {
        let token = self.sign(user, granted, seconds() + LIFE);
        let issued = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        json!({
            "token": token,
            "access_token": token,
            "expires_in": LIFE,
            "issued_at": issued.to_string(),
        })
        .to_string()
        .into_bytes()
    }

    /// What a token allows, if it is ours and not too old.
    pub(super) fn read(&self, token: &str) -> Option<Granted> {
        if token.len() > TOKEN_LIMIT {
            return None;
        }
        let (payload, tag) = token.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, payload.as_bytes(), &tag).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (claims.expires > seconds()).then_some(claims.access)
    }
}

fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(scope: &str, rights: &[&str]) -> Option<Granted> {
        Granted::of(&[scope.to_owned()], rights)
    }

    #[test]
    fn only_rights_that_one_has_are_granted() {
        let own = granted("repository:a/b:pull,push registry:catalog:*", &["pull"]).unwrap();
        assert!(own.allows("repository", "a/b", "pull"));
        assert!(!own.allows("repository", "a/b", "push"));
        assert!(!own.allows("repository", "a", "pull"));
        assert!(own.allows("registry", "catalog", "*"));
        let all = granted("repository:h:5000/x:*", &["pull", "delete"]).unwrap();
        assert!(all.allows("repository", "h:5000/x", "delete"));
        assert!(!all.allows("repository", "h:5000/x", "push"));
        assert_eq!(granted("", &[]), Some(Granted(Vec::new())));
        assert_eq!(granted("nonsense", &["pull"]), None);
        assert_eq!(granted(&"registry:catalog:* ".repeat(200), &["pull"]), None);
    }

    #[test]
    fn tokens_are_known_to_their_signer_while_they_last() {
        let signer = Signer::new().unwrap();
        let own = granted("repository:a:pull", &["pull"]).unwrap();
        let token = signer.sign("me", &own, seconds() + 10);
        assert_eq!(signer.read(&token), Some(own.clone()));
        assert_eq!(Signer::new().unwrap().read(&token), None);
        assert_eq!(signer.read(&signer.sign("me", &own, seconds())), None);
        let (payload, tag) = token.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(
            String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap())
                .unwrap()
                .replace("pull", "push"),
        );
        assert_eq!(signer.read(&format!("{forged}.{tag}")), None);
        for wrong in ["", ".", "a.b", payload] {
            assert_eq!(signer.read(wrong), None);
        }
    }
}
