//! Why a request got no answer.

use std::io;

use super::{Url, UrlError};
use crate::fs::PathError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is malformed.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A certificate file cannot be used.
    #[error(transparent)]
    Certificate(#[from] PathError),
    /// The proxy setting is malformed.
    #[error(
        "the proxy `{0}` is no URL such as http://host:3128; look at HTTP_PROXY and HTTPS_PROXY"
    )]
    Proxy(String),
    /// The host's name leads nowhere.
    #[error("cannot find the host `{0}`")]
    HostNotFound(String),
    /// No connection, or it broke.
    #[error("cannot talk to `{host}`")]
    Connection {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate is not trusted, or the server speaks no TLS.
    #[error("cannot make a secure connection to `{host}`: {why}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// The server speaks plain HTTP where TLS was spoken to it.
    #[error("cannot make a secure connection to `{0}`: it does not speak TLS")]
    NoTls(String),
    /// Nothing came for too long.
    #[error("`{host}` did not answer in time ({what})")]
    Timeout {
        /// Host and port.
        host: String,
        /// What was waited for.
        what: String,
    },
    /// What came is no HTTP.
    #[error("`{host}` sent no valid HTTP answer: {why}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What is wrong.
        why: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. } | Self::Timeout { .. } | Self::Protocol { .. }
        )
    }

    fn of_tls(error: &rustls::Error, host: String) -> Self {
        match error {
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Self::NoTls(host)
            }
            other => Self::Tls {
                host,
                why: other.to_string(),
            },
        }
    }

    pub(super) fn of(error: ureq::Error, url: &Url) -> Self {
        let host = url.authority().to_owned();
        match error {
            ureq::Error::HostNotFound => Self::HostNotFound(url.host().to_owned()),
            ureq::Error::Timeout(what) => Self::Timeout {
                host,
                what: what.to_string(),
            },
            ureq::Error::Rustls(err) => Self::of_tls(&err, host),
            ureq::Error::Tls(why) => Self::Tls {
                host,
                why: why.to_owned(),
            },
            ureq::Error::InvalidProxyUrl => Self::Proxy(String::new()),
            // The resolver of the C library tells it by its words alone.
            ureq::Error::Io(source) if source.to_string().contains("failed to lookup") => {
                Self::HostNotFound(url.host().to_owned())
            }
            ureq::Error::Io(source) => match inner_tls(&source) {
                Some(err) => Self::of_tls(err, host),
                None => Self::Connection { host, source },
            },
            ureq::Error::ConnectionFailed => Self::Connection {
                host,
                source: io::Error::other("the connection failed"),
            },
            other => Self::Protocol {
                host,
                why: other.to_string(),
            },
        }
    }
}

/// A TLS error inside of one of input and output.
fn inner_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}
