//! `config.json` and `auth.json`: the parts of them that matter here. What else is in a file survives its change.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Credentials;
use crate::fs::{At, PathError, replace};

/// Largest configuration file that is read, in bytes.
const SIZE_LIMIT: u64 = 4 << 20;

/// A client configuration file, read whole.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    document: Map<String, Value>,
}

impl ConfigFile {
    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON object; the error names the file.
    pub fn read(path: &Path) -> Result<Self, PathError> {
        let empty = Self {
            path: path.to_owned(),
            document: Map::new(),
        };
        let bytes = match std::fs::File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::Read::take(file, SIZE_LIMIT), &mut bytes)
                    .at("read", path)?;
                bytes
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(empty),
            Err(err) => return Err(err).at("open", path),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(empty);
        }
        let document = serde_json::from_slice(&bytes)
            .map_err(std::io::Error::other)
            .at("read", path)?;
        Ok(Self { document, ..empty })
    }

    /// The same from a text, such as `DOCKER_AUTH_CONFIG`; `name` stands in messages.
    pub fn from_text(name: &str, text: &str) -> Result<Self, PathError> {
        let document = serde_json::from_str(text)
            .map_err(std::io::Error::other)
            .at("read", name)?;
        Ok(Self {
            path: PathBuf::from(name),
            document,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credential helper for a registry: its own one, else the store for all.
    pub(super) fn helper(&self, key: &str) -> Option<&str> {
        let own = self
            .document
            .get("credHelpers")
            .and_then(|helpers| helpers.get(key));
        let own = own.and_then(Value::as_str).filter(|name| !name.is_empty());
        own.or_else(|| {
            let store = self.document.get("credsStore").and_then(Value::as_str);
            store.filter(|name| !name.is_empty())
        })
    }

    /// The entries of `auths`.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, Credentials)> {
        let auths = self.document.get("auths").and_then(Value::as_object);
        auths
            .into_iter()
            .flatten()
            .filter_map(|(key, entry)| Some((key.as_str(), read_entry(entry)?)))
    }

    /// The registries that have an entry, with secrets or without.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let auths = self.document.get("auths").and_then(Value::as_object);
        auths.into_iter().flatten().map(|(key, _)| key.clone())
    }

    /// Headers that go with every request to a registry.
    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.document.get("HttpHeaders").and_then(Value::as_object);
        let pair =
            |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        headers.into_iter().flatten().filter_map(pair).collect()
    }

    /// The proxy settings of Docker's `proxies.default`, as names of variables with their values.
    pub fn proxies(&self) -> Vec<(&'static str, String)> {
        const NAMES: [(&str, &str); 5] = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let default = self
            .document
            .get("proxies")
            .and_then(|proxies| proxies.get("default"));
        let value = |key: &str| Some(default?.get(key)?.as_str()?.to_owned());
        NAMES
            .iter()
            .filter_map(|(key, name)| Some((*name, value(key)?)))
            .collect()
    }

    /// Sets or removes the entry of a registry and writes the file, mode 0600.
    ///
    /// With an entry of `None` the registry is removed; an entry without secrets
    /// says that a helper keeps them.
    pub(super) fn store(
        &mut self,
        key: &str,
        entry: Option<&Credentials>,
    ) -> Result<(), PathError> {
        let auths = self
            .document
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Some(auths) = auths.as_object_mut() {
            match entry {
                Some(entry) => drop(auths.insert(key.to_owned(), write_entry(entry))),
                None => drop(auths.remove(key)),
            }
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).at("create", dir)?;
        }
        let mut text = serde_json::to_string_pretty(&self.document)
            .map_err(std::io::Error::other)
            .at("write", &self.path)?;
        text.push('\n');
        // A link, as dotfile managers make it, stays one.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        replace(&target, text.as_bytes())
    }
}

/// Reads `{auth, username, password, identitytoken, registrytoken}`; `None` when it has no secret.
fn read_entry(entry: &Value) -> Option<Credentials> {
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(token) = text("registrytoken") {
        return Some(Credentials::Bearer(token.to_owned()));
    }
    let mut user = text("username").unwrap_or_default().to_owned();
    let mut password = text("password").unwrap_or_default().to_owned();
    if let Some(auth) = text("auth")
        && let Some((name, secret)) = decode_auth(auth)
    {
        (user, password) = (name, secret);
    }
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::Identity(token.to_owned()));
    }
    (!user.is_empty() || !password.is_empty()).then_some(Credentials::Password { user, password })
}

fn write_entry(entry: &Credentials) -> Value {
    let mut members = Map::new();
    let mut add =
        |name: &str, text: String| drop(members.insert(name.to_owned(), Value::String(text)));
    match entry {
        Credentials::Password { user, password } => {
            add("auth", super::lookup::basic(user, password));
        }
        Credentials::Identity(token) => add("identitytoken", token.clone()),
        Credentials::Bearer(token) => add("registrytoken", token.clone()),
        Credentials::Anonymous => {}
    }
    Value::Object(members)
}

/// `user:password` in base64; Docker writes zero bytes at its end at times.
fn decode_auth(text: &str) -> Option<(String, String)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}
