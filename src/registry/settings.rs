//! `registries.toml`: mirrors, plain HTTP, certificates.
//!
//! Where a registry is looked for and how is settled here; see `docs/registries.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::fs::{At, PathError};

/// Largest settings file that is read, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// The host that really serves `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";
/// Docker's and podman's directories with certificates by host.
const CERTS_DIRS: [&str; 3] = [
    "/etc/rbuild/certs.d",
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
];

/// The settings of all registries.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// By host, with its port.
    #[serde(default, rename = "registry")]
    registries: BTreeMap<String, Registry>,
    /// `certs.d` beside the settings file: certificates by host.
    #[serde(skip)]
    own_certificates: Option<PathBuf>,
}

/// The settings of one registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Registry {
    /// Hosts that are asked first, in order.
    #[serde(default)]
    mirrors: Vec<String>,
    /// Whether it is spoken to without TLS.
    #[serde(default)]
    plain_http: bool,
    /// Whether its certificate is not looked at.
    #[serde(default)]
    skip_tls_verification: bool,
    /// A file with further root certificates, PEM.
    ca: Option<PathBuf>,
    /// A client certificate, PEM.
    client_certificate: Option<PathBuf>,
    /// Its key, PEM.
    client_key: Option<PathBuf>,
    /// How many seconds nothing may come from it or go to it before that is an error.
    idle_timeout: Option<u32>,
    /// Whether nothing may be taken from it or sent to it.
    #[serde(default)]
    blocked: bool,
    /// Whether it is asked first if it speaks TLS; never from a file.
    #[serde(skip)]
    either_way: bool,
}

/// One host to speak to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host and port as in a URL.
    pub host: String,
    /// Whether without TLS.
    pub plain_http: bool,
    /// Whether it is asked first if it speaks TLS: a registry on this machine.
    pub either_way: bool,
    /// Whether its certificate is not looked at.
    pub skip_tls_verification: bool,
    /// Files with further root certificates.
    pub roots: Vec<PathBuf>,
    /// A client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long nothing may come or go, if not as long as usual.
    pub idle: Option<Duration>,
    /// The registry that it mirrors, which is told with `?ns=`.
    pub mirror_of: Option<String>,
}

impl Endpoint {
    /// `https://host`.
    pub fn base(&self) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}", self.host)
    }
}

impl Settings {
    /// Reads a settings file; one that is not there is empty.
    ///
    /// # Errors
    /// When it is no TOML or has an unknown name; the error tells the line.
    pub fn read(path: &Path) -> Result<Self, PathError> {
        let empty = Self {
            own_certificates: path.parent().map(|dir| dir.join("certs.d")),
            ..Self::default()
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) if text.len() <= SIZE_LIMIT => text,
            Ok(_) => return Err(std::io::Error::other("the file is too large")).at("read", path),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(empty),
            Err(err) => return Err(err).at("read", path),
        };
        let read: Self = toml::from_str(&text)
            .map_err(|err| std::io::Error::other(err.to_string()))
            .at("read", path)?;
        Ok(Self {
            own_certificates: empty.own_certificates,
            ..read
        })
    }

    /// Whether `host` is blocked.
    pub fn is_blocked(&self, host: &str) -> bool {
        self.registries
            .get(host)
            .is_some_and(|registry| registry.blocked)
    }

    /// Where to take content of `host` from: its mirrors in order, then itself.
    pub fn sources(&self, host: &str) -> Vec<Endpoint> {
        let mirrors = self
            .registries
            .get(host)
            .map(|registry| registry.mirrors.as_slice());
        let mirrors = mirrors.unwrap_or_default().iter().map(|mirror| Endpoint {
            mirror_of: Some(host.to_owned()),
            ..self.endpoint(mirror)
        });
        mirrors.chain([self.endpoint(host)]).collect()
    }

    /// How to speak to `host` itself.
    pub fn endpoint(&self, host: &str) -> Endpoint {
        let own = self.registries.get(host).cloned().unwrap_or_default();
        let either_way = (own.either_way || is_loopback(host)) && !own.plain_http;
        let mut roots: Vec<PathBuf> = own.ca.into_iter().collect();
        let mut identity = own.client_certificate.zip(own.client_key);
        let own_dir = self.own_certificates.as_deref();
        for dir in own_dir.into_iter().chain(CERTS_DIRS.iter().map(Path::new)) {
            let dir = dir.join(host);
            let (more, found) = certificates(&dir);
            roots.extend(more);
            identity = identity.or(found);
        }
        Endpoint {
            host: if host == "docker.io" {
                DOCKER_HUB
            } else {
                host
            }
            .to_owned(),
            plain_http: own.plain_http || either_way,
            either_way,
            skip_tls_verification: own.skip_tls_verification,
            roots,
            identity,
            idle: own
                .idle_timeout
                .map(|seconds| Duration::from_secs(seconds.max(1).into())),
            mirror_of: None,
        }
    }

    /// The same with TLS verification off for `host`, and plain HTTP as a way to it (`--tls-verify=false`).
    #[must_use]
    pub fn without_verification(mut self, host: &str) -> Self {
        let registry = self.registries.entry(host.to_owned()).or_default();
        registry.skip_tls_verification = true;
        registry.either_way = true;
        self
    }

    /// The same without mirrors of `host`: for whoever is one.
    #[must_use]
    pub fn without_mirrors(mut self, host: &str) -> Self {
        if let Some(registry) = self.registries.get_mut(host) {
            registry.mirrors.clear();
        }
        self
    }
}

/// `*.crt` are roots, `*.cert` with `*.key` a client certificate.
fn certificates(dir: &Path) -> (Vec<PathBuf>, Option<(PathBuf, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return (Vec::new(), None);
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let ends = |path: &&PathBuf, with: &str| path.extension().is_some_and(|own| own == with);
    let roots = paths
        .iter()
        .filter(|path| ends(path, "crt"))
        .cloned()
        .collect();
    let identity = paths
        .iter()
        .filter(|path| ends(path, "cert"))
        .find_map(|certificate| {
            let key = certificate.with_extension("key");
            key.is_file().then(|| (certificate.clone(), key))
        });
    (roots, identity)
}

/// Whether a host is this machine itself, to which one may speak without TLS.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_plain_by_itself() {
        let settings = Settings::default();
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(settings.endpoint(host).plain_http, "{host}");
        }
        for host in [
            "example.com",
            "localhost.example.com:5000",
            "10.0.0.1:5000",
            "[::2]:5000",
        ] {
            assert!(!settings.endpoint(host).plain_http, "{host}");
        }
        assert_eq!(
            settings.endpoint("docker.io").base(),
            "https://registry-1.docker.io"
        );
    }

    #[test]
    fn settings_are_by_host() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:6000\", \"m.example\"]\n\
                    [registry.\"m.example\"]\nplain-http = true\n[registry.\"bad.example\"]\nblocked = true\n";
        let settings: Settings = toml::from_str(text).unwrap();
        let bases: Vec<String> = settings
            .sources("docker.io")
            .iter()
            .map(Endpoint::base)
            .collect();
        assert_eq!(
            bases,
            [
                "http://127.0.0.1:6000",
                "http://m.example",
                "https://registry-1.docker.io"
            ]
        );
        assert!(settings.is_blocked("bad.example") && !settings.is_blocked("m.example"));
        let own = settings.clone().without_mirrors("docker.io");
        assert_eq!(own.sources("docker.io").len(), 1);
        let wrong = toml::from_str::<Settings>("[registry.x]\nplain = 1\n").unwrap_err();
        assert!(wrong.to_string().contains("plain"), "{wrong}");
    }

    #[test]
    fn a_host_that_need_not_be_verified_may_speak_without_tls() {
        let settings = Settings::default().without_verification("r.example:5000");
        let endpoint = settings.endpoint("r.example:5000");
        assert!(endpoint.either_way && endpoint.plain_http && endpoint.skip_tls_verification);
        assert!(!settings.endpoint("r.example:5001").either_way);
    }

    #[test]
    fn certificates_are_found_by_their_extensions() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ca.crt", "b.crt", "client.cert", "client.key", "alone.cert"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let (roots, identity) = certificates(dir.path());
        assert_eq!(roots.len(), 2);
        assert_eq!(identity.unwrap().0, dir.path().join("client.cert"));
    }
}
