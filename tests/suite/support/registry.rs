//! The registry of the distribution project (`docker-registry` of Debian), started
//! for one test on loopback with files of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::tokens::{ISSUER, SERVICE, TokenServer};

/// The user that registries with passwords know.
pub(crate) const USER: &str = "tester";
/// That user's password.
pub(crate) const PASSWORD: &str = "correct-horse";
/// The same for `htpasswd`, bcrypt of cost 5.
const HTPASSWD: &str = "tester:$2y$05$mbnG.cpc7cOEReZJ5BHl6e43QwFaoIDkyZC78YGNFtmc9JDczQOZO\n";
/// How long the registry may take until it listens.
const PATIENCE: Duration = Duration::from_mins(1);

/// A registry; it ends, and its files go, with this value.
///
/// Deletion is allowed. Nothing but what a test puts there is in it.
#[derive(Debug)]
pub(crate) struct RegistryServer {
    child: Child,
    host: String,
    certificates: Option<Certificates>,
    tokens: Option<TokenServer>,
    dir: TempDir,
}

impl RegistryServer {
    /// One that lets everybody do everything, without TLS.
    pub(crate) fn plain() -> Self {
        Self::start(Parts::new())
    }

    /// One with TLS, its certificate from an authority of its own, that knows
    /// [`USER`] with [`PASSWORD`].
    pub(crate) fn with_password() -> Self {
        let mut parts = Parts::with_tls();
        let file = parts.dir.path().join("htpasswd");
        std::fs::write(&file, HTPASSWD).expect("the temporary directory is writable");
        parts.config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
        Self::start(parts)
    }

    /// One with TLS that takes connections from clients with a certificate alone.
    pub(crate) fn with_client_certificates() -> Self {
        let mut parts = Parts::with_tls();
        let certificates = parts.certificates.as_ref();
        let ca = certificates.expect("they were just made").ca();
        parts.config["http"]["tls"]["clientcas"] = json!([ca]);
        Self::start(parts)
    }

    /// One without TLS that takes tokens of a token server.
    pub(crate) fn with_tokens() -> Self {
        let mut parts = Parts::new();
        let certificates = Certificates::new(&parts.dir.path().join("certificates"));
        let (certificate, key) = certificates.signer();
        let tokens = TokenServer::new(&certificate, &key);
        parts.config["auth"] = json!({"token": {
            "realm": tokens.realm(),
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": certificate,
        }});
        parts.tokens = Some(tokens);
        Self::start(parts)
    }

    /// One without TLS that passes on what the registry at the URL `upstream` has.
    pub(crate) fn mirror_of(upstream: &str) -> Self {
        let mut parts = Parts::new();
        parts.config["proxy"] = json!({"remoteurl": upstream});
        Self::start(parts)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "another program is what the tests talk to"
    )]
    fn start(parts: Parts) -> Self {
        let path = |name: &str| parts.dir.path().join(name);
        let config = parts.config.to_string();
        std::fs::write(path("config.yml"), config).expect("the temporary directory is writable");
        let log = std::fs::File::create(path("log")).expect("the temporary directory is writable");
        let child = Command::new(find().expect("the test asked for it first"))
            .arg("serve")
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it is installed");
        // From here on it ends with this value, also when it does not come up.
        let mut server = Self {
            child,
            host: String::new(),
            certificates: parts.certificates,
            tokens: parts.tokens,
            dir: parts.dir,
        };
        server.host = server.listening();
        server
    }

    /// Waits until it listens; the port is the kernel's choice and told in the log.
    fn listening(&mut self) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            let told = log.split_once("listening on ").map(|(_, rest)| rest);
            let end = |rest: &str| rest.find(|c: char| c != ':' && c != '.' && !c.is_ascii_digit());
            if let Some((rest, end)) = told.and_then(|rest| Some((rest, end(rest)?))) {
                return rest[..end].to_owned();
            }
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "docker-registry ended: {log}");
            assert!(began.elapsed() < PATIENCE, "docker-registry is mute: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Host and port, as image names have it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        let tls = self.tokens.is_none() && self.certificates.is_some();
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host)
    }

    /// A file with its authority's certificate, where it has TLS.
    pub(crate) fn ca(&self) -> PathBuf {
        self.certificates().ca()
    }

    /// What its authority certified.
    pub(crate) fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the test chose TLS")
    }

    /// The token server beside it.
    pub(crate) fn tokens(&self) -> &TokenServer {
        self.tokens.as_ref().expect("the test chose tokens")
    }

    /// The blobs that it has.
    pub(crate) fn blobs(&self) -> BTreeSet<rbuild::oci::Digest> {
        let dir = self.storage().join("blobs/sha256");
        let entries = |dir: PathBuf| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path())
        };
        let whole = |path: &PathBuf| path.join("data").exists();
        let digest = |path: PathBuf| {
            let hex = path.file_name()?.to_str()?.to_owned();
            format!("sha256:{hex}").parse().ok()
        };
        let all = entries(dir).flat_map(entries).filter(whole);
        all.filter_map(digest).collect()
    }

    /// The file of a blob, whether it is there or not.
    pub(crate) fn blob_path(&self, digest: rbuild::oci::Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self.storage().join("blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// The bytes of a blob or a manifest.
    pub(crate) fn blob(&self, digest: rbuild::oci::Digest) -> Vec<u8> {
        std::fs::read(self.blob_path(digest)).expect("it is there")
    }

    /// What a tag leads to.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> rbuild::oci::Digest {
        let tags = format!("repositories/{repository}/_manifests/tags/{tag}/current/link");
        let link = std::fs::read_to_string(self.storage().join(tags));
        link.expect("it is there").parse().expect("it is a digest")
    }

    fn storage(&self) -> PathBuf {
        self.dir.path().join("data/docker/registry/v2")
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        // It keeps nothing in memory that a test would miss.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// What a registry is made of.
struct Parts {
    dir: TempDir,
    config: Value,
    certificates: Option<Certificates>,
    tokens: Option<TokenServer>,
}

impl Parts {
    fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("rbuild-test-registry-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let config = json!({
            "version": "0.1",
            "log": {"level": "info", "formatter": "text", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": dir.path().join("data")},
                "delete": {"enabled": true},
                "maintenance": {"uploadpurging": {"enabled": false}},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "of a test"},
        });
        Self {
            dir,
            config,
            certificates: None,
            tokens: None,
        }
    }

    fn with_tls() -> Self {
        let mut parts = Self::new();
        let certificates = Certificates::new(&parts.dir.path().join("certificates"));
        let (certificate, key) = certificates.server();
        parts.config["http"]["tls"] = json!({"certificate": certificate, "key": key});
        parts.certificates = Some(certificates);
        parts
    }
}

/// Finds the program.
pub(super) fn find() -> Option<PathBuf> {
    rbuild::sys::command::find("docker-registry", None)
}
