//! The certificates of authorities that this system trusts.

use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::super::{Error, Remote};
use crate::fs::At;

/// Where distributions keep all certificates in one file.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cacert.pem",
];
/// Largest file of certificates.
const SIZE_LIMIT: u64 = 64 << 20;

impl Remote<'_> {
    /// The file that the user named by `SSL_CERT_FILE`, or the system's.
    pub(in crate::remote) fn roots_file(&self) -> Option<PathBuf> {
        if let Some(named) = self.variable("SSL_CERT_FILE") {
            return Some(PathBuf::from(named));
        }
        FILES.iter().map(PathBuf::from).find(|path| path.is_file())
    }

    /// The certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or else the system's.
    pub(super) fn roots(&self) -> Result<RootCerts, Error> {
        let mut certificates = Vec::new();
        let dirs = self.variable("SSL_CERT_DIR");
        if self.variable("SSL_CERT_FILE").is_some() || dirs.is_none() {
            if let Some(path) = self.roots_file() {
                read(&path, &mut certificates)?;
            }
        }
        for dir in dirs.into_iter().flat_map(|dirs| dirs.split(':')) {
            for entry in std::fs::read_dir(dir).at("list", dir)? {
                let path = entry.at("list", dir)?.path();
                if path.is_file() {
                    read(&path, &mut certificates)?;
                }
            }
        }
        if certificates.is_empty() {
            return Err(Error::NoRoots);
        }
        Ok(RootCerts::from(certificates))
    }
}

/// Adds the certificates of a PEM file; other things in it are passed over.
fn read(path: &Path, certificates: &mut Vec<Certificate<'static>>) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).at("read", path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, SIZE_LIMIT), &mut bytes)
        .at("read", path)?;
    certificates.extend(parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    }));
    Ok(())
}
