//! The server's side of TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::fs::{At, PathError};

/// Why a certificate or its key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// There is no certificate in the file.
    #[error("`{}` has no certificate: it should be PEM, ours first and those that signed it after it", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("`{}` has no private key: it should be PEM, without a pass phrase", .0.display())]
    NoKey(PathBuf),
    /// The two do not fit together, or are of a kind that is not known.
    #[error("the certificate and its key cannot be used")]
    Refused(#[from] rustls::Error),
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// Reads a certificate chain and a key, PEM.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let bytes = std::fs::read(certificate).at("read", certificate)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
            .filter_map(Result::ok)
            .collect();
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(certificate.to_owned()));
        }
        let bytes = std::fs::read(key).at("read", key)?;
        let private =
            PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::NoKey(key.to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.0))
    }
}
