//! Which credentials a registry gets, and keeping them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::file::ConfigFile;
use super::helper::{Helper, HelperError};
use crate::fs::PathError;

/// What a registry is shown of who we are. Its `Debug` form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user name and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An identity (refresh) token, which a token server takes for access tokens.
    Identity(String),
    /// An access token that is sent as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

/// Why credentials cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A configuration file.
    #[error(transparent)]
    File(#[from] PathError),
    /// A helper.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// The key of Docker's own registry in every file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Every place where credentials may be.
#[derive(Debug, Clone)]
pub struct Keyring {
    environment: BTreeMap<String, String>,
    /// Where `login` writes.
    own: PathBuf,
    /// Further files that are read, the first one with an entry counts.
    others: Vec<PathBuf>,
}

impl Keyring {
    /// The places that `environment` names: `REGISTRY_AUTH_FILE` alone if it is
    /// set; else `DOCKER_AUTH_CONFIG`, `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, and podman's `auth.json`.
    ///
    /// `config_dir` is the directory of `--config`.
    pub fn new(environment: BTreeMap<String, String>, config_dir: Option<PathBuf>) -> Self {
        let path = |name: &str| {
            environment
                .get(name)
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)
        };
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return Self {
                own: file,
                others: Vec::new(),
                environment,
            };
        }
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let docker = config_dir
            .or_else(|| path("DOCKER_CONFIG"))
            .unwrap_or_else(|| home.join(".docker"));
        let mut others = Vec::new();
        others.extend(path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")));
        others.push(home.join(".config/containers/auth.json"));
        Self {
            own: docker.join("config.json"),
            others,
            environment,
        }
    }

    /// The file that `login` writes.
    pub fn path(&self) -> &std::path::Path {
        &self.own
    }

    /// The client's own configuration file.
    pub fn config(&self) -> Result<ConfigFile, PathError> {
        ConfigFile::read(&self.own)
    }

    /// What to show to `host` for `repository` (a path on it).
    pub fn find(&self, host: &str, repository: &str) -> Result<Credentials, CredentialsError> {
        if let Some(text) = self
            .environment
            .get("DOCKER_AUTH_CONFIG")
            .filter(|text| !text.trim().is_empty())
        {
            let file = ConfigFile::from_text("DOCKER_AUTH_CONFIG", text)?;
            if let Some(found) = in_file(&file, host, repository) {
                return Ok(found);
            }
        }
        let own = ConfigFile::read(&self.own)?;
        let key = server_key(host);
        if let Some(name) = own.helper(key).or_else(|| own.helper(host)) {
            let helper = Helper {
                name,
                environment: &self.environment,
            };
            if let Some(found) = helper.get(key)? {
                return Ok(found);
            }
        }
        if let Some(found) = in_file(&own, host, repository) {
            return Ok(found);
        }
        for path in &self.others {
            if let Some(found) = in_file(&ConfigFile::read(path)?, host, repository) {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    /// Keeps credentials for `host`, with the helper that the file names or in
    /// the file. Returns the name of the helper.
    pub fn store(
        &self,
        host: &str,
        credentials: &Credentials,
    ) -> Result<Option<String>, CredentialsError> {
        let mut file = ConfigFile::read(&self.own)?;
        let key = server_key(host);
        let Some(name) = file.helper(key).map(str::to_owned) else {
            file.store(key, Some(credentials))?;
            return Ok(None);
        };
        let helper = Helper {
            name: &name,
            environment: &self.environment,
        };
        helper.store(key, credentials)?;
        file.store(key, Some(&Credentials::Anonymous))?;
        Ok(Some(name))
    }

    /// Forgets the credentials for `host`; whether there were any.
    pub fn erase(&self, host: &str) -> Result<bool, CredentialsError> {
        let mut file = ConfigFile::read(&self.own)?;
        let key = server_key(host);
        let mut found = false;
        if let Some(name) = file.helper(key).map(str::to_owned) {
            let helper = Helper {
                name: &name,
                environment: &self.environment,
            };
            found = helper.get(key)?.is_some();
            if found {
                helper.erase(key)?;
            }
        }
        let keys: Vec<String> = file.keys().filter(|own| names_host(own, host)).collect();
        for key in &keys {
            file.store(key, None)?;
        }
        Ok(found || !keys.is_empty())
    }
}

/// The name of a registry in configuration files and helpers.
fn server_key(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The host and path that a key stands for: without scheme, API version and trailing slash.
fn plain_key(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key);
    if key == "index.docker.io" || key == "registry-1.docker.io" {
        return "docker.io";
    }
    key
}

fn names_host(key: &str, host: &str) -> bool {
    let plain = plain_key(key);
    plain == plain_key(host) || plain.split('/').next() == Some(plain_key(host))
}

/// The entry for the longest prefix of `host/repository`; a key with a scheme or
/// a path that is no prefix still names its host, as Docker has it.
fn in_file(file: &ConfigFile, host: &str, repository: &str) -> Option<Credentials> {
    let whole = format!("{}/{repository}", plain_key(host));
    let mut best: Option<(usize, Credentials)> = None;
    for (key, credentials) in file.entries() {
        let plain = plain_key(key);
        let rest = whole.strip_prefix(plain);
        let length = match rest {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => plain.len() + 1,
            // `https://host/some/path` of old clients.
            _ if key.contains("://") && names_host(key, host) => 0,
            _ => continue,
        };
        if best.as_ref().is_none_or(|(known, _)| *known < length) {
            best = Some((length, credentials));
        }
    }
    best.map(|(_, credentials)| credentials)
}

/// `user:password` in base64, as HTTP's basic scheme and `auths` have it.
pub(in crate::registry) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn keyring(dir: &std::path::Path, more: &[(&str, &str)]) -> Keyring {
        let mut environment: BTreeMap<String, String> = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.insert("HOME".to_owned(), dir.display().to_string());
        Keyring::new(environment, None)
    }

    #[test]
    fn the_longest_key_wins_and_docker_hub_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let text = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": basic("hub", "h")},
            "r.example:5000": {"auth": basic("all", "a")},
            "r.example:5000/team": {"auth": basic("team", "t")},
            "https://old.example/v1/some": {"username": "o", "password": "p"},
            "i.example": {"auth": "", "identitytoken": "tok"},
            "kept.by.helper": {},
        }});
        std::fs::create_dir(dir.path().join(".docker")).unwrap();
        std::fs::write(dir.path().join(".docker/config.json"), text.to_string()).unwrap();
        let ring = keyring(dir.path(), &[]);
        let find = |host: &str, path: &str| ring.find(host, path).unwrap();
        assert_eq!(find("docker.io", "library/x"), password("hub", "h"));
        assert_eq!(find("r.example:5000", "x"), password("all", "a"));
        assert_eq!(find("r.example:5000", "team/x"), password("team", "t"));
        assert_eq!(find("r.example:5000", "teams/x"), password("all", "a"));
        assert_eq!(find("old.example", "x"), password("o", "p"));
        assert_eq!(
            find("i.example", "x"),
            Credentials::Identity("tok".to_owned())
        );
        assert_eq!(find("kept.by.helper", "x"), Credentials::Anonymous);
        assert_eq!(find("r.example", "x"), Credentials::Anonymous);
    }

    #[test]
    fn storing_keeps_what_else_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".docker/config.json");
        std::fs::create_dir(dir.path().join(".docker")).unwrap();
        std::fs::write(
            &path,
            r#"{"detachKeys": "ctrl-x", "auths": {"a": {"auth": "eDp5"}}}"#,
        )
        .unwrap();
        let ring = keyring(dir.path(), &[]);
        ring.store("docker.io", &password("u", "p:w")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("ctrl-x") && text.contains("https://index.docker.io/v1/"),
            "{text}"
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(ring.find("docker.io", "a/b").unwrap(), password("u", "p:w"));
        assert_eq!(ring.find("a", "b").unwrap(), password("x", "y"));
        assert!(ring.erase("docker.io").unwrap());
        assert!(!ring.erase("docker.io").unwrap());
        assert_eq!(
            ring.find("docker.io", "a/b").unwrap(),
            Credentials::Anonymous
        );
    }

    #[test]
    fn helpers_are_asked_first_and_their_failures_told() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir_all(dir.path().join(".docker")).unwrap();
        std::fs::create_dir(&bin).unwrap();
        let helper = bin.join("docker-credential-test");
        let script = "#!/bin/sh\nread server\ncase \"$1 $server\" in\n\
            'get a') echo '{\"ServerURL\":\"a\",\"Username\":\"<token>\",\"Secret\":\"s\"}';;\n\
            'get b') echo 'credentials not found in native keychain'; exit 1;;\n\
            'store '*) echo \"$server\" > \"$HOME/stored\";;\n\
            *) echo broken >&2; exit 1;;\nesac\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = dir.path().join(".docker/config.json");
        std::fs::write(&config, r#"{"credsStore": "test", "credHelpers": {"d": "absent"}, "auths": {"b": {"auth": "eDp5"}}}"#).unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let ring = keyring(dir.path(), &[("PATH", &path)]);
        assert_eq!(
            ring.find("a", "x").unwrap(),
            Credentials::Identity("s".to_owned())
        );
        assert_eq!(ring.find("b", "x").unwrap(), password("x", "y"));
        let broken = ring.find("c", "x").unwrap_err().to_string();
        assert!(broken.ends_with("failed: broken"), "{broken}");
        let absent = ring.find("d", "x").unwrap_err().to_string();
        assert!(absent.contains("docker-credential-absent"), "{absent}");
        assert_eq!(
            ring.store("e", &password("u", "p")).unwrap().as_deref(),
            Some("test")
        );
        let stored = std::fs::read_to_string(dir.path().join("stored")).unwrap();
        assert!(stored.contains("\"Secret\":\"p\""), "{stored}");
        assert!(!std::fs::read_to_string(&config).unwrap().contains("\"p\""));
    }

    #[test]
    fn a_file_for_ci_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        std::fs::write(&file, r#"{"auths": {"h/ns": {"auth": "YTpi"}}}"#).unwrap();
        let ring = keyring(
            dir.path(),
            &[("REGISTRY_AUTH_FILE", &file.display().to_string())],
        );
        assert_eq!(ring.find("h", "ns/repo").unwrap(), password("a", "b"));
        assert_eq!(ring.find("h", "other").unwrap(), Credentials::Anonymous);
        let text = r#"{"auths": {"h": {"auth": "Yzpk"}}}"#;
        let ring = keyring(dir.path(), &[("DOCKER_AUTH_CONFIG", text)]);
        assert_eq!(ring.find("h", "ns/repo").unwrap(), password("c", "d"));
    }
}
