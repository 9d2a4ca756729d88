//! Whom a TLS connection trusts, and who we are on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use super::HttpError;
use crate::fs::{At, PathError};

/// Largest certificate file that is read, in bytes.
const SIZE_LIMIT: u64 = 8 << 20;
/// Where distributions keep the root certificates in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The TLS side of a client.
pub(super) fn configure(
    bundle: Option<&Path>,
    more: &[PathBuf],
    identity: Option<&(PathBuf, PathBuf)>,
    skip_verification: bool,
) -> Result<TlsConfig, HttpError> {
    let mut roots = system(bundle)?;
    for path in more {
        let extra = certificates(path)?;
        Arc::make_mut(&mut roots).extend(extra);
    }
    let client = identity
        .map(|(certificate, key)| client(certificate, key))
        .transpose()?;
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(roots))
        .client_cert(client)
        .disable_verification(skip_verification)
        .build())
}

/// The file with the system's root certificates.
pub fn system_bundle() -> Option<&'static Path> {
    BUNDLES.iter().map(Path::new).find(|path| path.is_file())
}

/// The system's root certificates, read once; `bundle` (`SSL_CERT_FILE`) stands in for them.
fn system(bundle: Option<&Path>) -> Result<Arc<Vec<Certificate<'static>>>, HttpError> {
    static SYSTEM: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    if let Some(bundle) = bundle {
        return Ok(Arc::new(certificates(bundle)?));
    }
    if let Some(known) = SYSTEM.get() {
        return Ok(Arc::clone(known));
    }
    let found = system_bundle();
    // Without any, every server is refused, which says what is missing.
    let roots = found.map(certificates).transpose()?.unwrap_or_default();
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(roots))))
}

fn read(path: &Path) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).at("open the certificates in", path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, SIZE_LIMIT), &mut bytes)
        .at("read", path)?;
    Ok(bytes)
}

/// Every certificate of a PEM file; one that is malformed is passed over, as OpenSSL does.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, HttpError> {
    let bytes = read(path)?;
    let items = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(items.collect())
}

fn client(certificate: &Path, key: &Path) -> Result<ClientCert, HttpError> {
    let wrong = |err: &dyn std::fmt::Display| std::io::Error::other(err.to_string());
    let chain = certificates(certificate)?;
    let text = read(key)?;
    let private = PrivateKey::from_pem(&text)
        .map_err(|err| wrong(&err))
        .at("read the key in", key)?;
    // What does not fit together would be found out in the middle of a handshake only.
    let der = chain
        .iter()
        .map(|one| CertificateDer::from(one.der().to_vec()));
    let secret = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|err| wrong(&err))
        .at("read the key in", key)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(der.collect(), secret, &provider)
        .map_err(|err| wrong(&err))
        .at("use the key in", key)?;
    Ok(ClientCert::new_with_certs(&chain, private))
}
