//! Certificates of a test's own authority, made by the openssl program.

use std::path::{Path, PathBuf};

use super::run_other;

const CONFIG: &str = "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=test\n\
    [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
    [server]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n\
    extendedKeyUsage=serverAuth\n\
    [client]\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n";
const ELLIPTIC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A directory with an authority and what it certified.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes an authority in `dir`, and a certificate for a server on loopback
    /// and one for a client.
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the temporary directory is writable");
        let own = Self {
            dir: dir.to_owned(),
        };
        std::fs::write(own.path("config"), CONFIG).expect("the temporary directory is writable");
        own.make("ca", &ELLIPTIC, "ca", false);
        own.make("server", &ELLIPTIC, "server", true);
        own.make("client", &ELLIPTIC, "client", true);
        own
    }

    /// Makes a self-signed certificate with an RSA key, as tokens are signed with.
    pub(crate) fn signer(&self) -> (PathBuf, PathBuf) {
        self.make("signer", &["-newkey", "rsa:2048"], "ca", false);
        (self.path("signer.pem"), self.path("signer.key"))
    }

    /// The authority's own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Certificate and key of the server.
    pub(crate) fn server(&self) -> (PathBuf, PathBuf) {
        (self.path("server.pem"), self.path("server.key"))
    }

    /// Certificate and key of a client.
    pub(crate) fn client(&self) -> (PathBuf, PathBuf) {
        (self.path("client.pem"), self.path("client.key"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn make(&self, name: &str, key: &[&str], section: &str, certified: bool) {
        let text = |name: &str| self.path(name).display().to_string();
        let (config, subject) = (text("config"), format!("/CN={name}"));
        let (certificate, key_file) = (text(&format!("{name}.pem")), text(&format!("{name}.key")));
        let (ca, ca_key) = (text("ca.pem"), text("ca.key"));
        let mut arguments = vec!["req", "-x509", "-config", &config, "-extensions", section];
        arguments.extend(key);
        arguments.extend(["-nodes", "-days", "30", "-subj", &subject]);
        arguments.extend(["-keyout", &key_file, "-out", &certificate]);
        if certified {
            arguments.extend(["-CA", &ca, "-CAkey", &ca_key]);
        }
        run_other("openssl", &arguments);
    }
}
