//! Why a registry did not do what it was asked.

use serde::Deserialize;

use super::CredentialsError;
use crate::fs::PathError;
use crate::http::{HttpError, UrlError};
use crate::oci::Digest;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The credentials cannot be read or kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A settings file cannot be read.
    #[error(transparent)]
    Settings(#[from] PathError),
    /// The settings forbid this registry.
    #[error("the registry `{0}` is blocked by registries.toml")]
    Blocked(String),
    /// It wants to know who we are, or does not accept it.
    #[error("{host}: unauthorized: {why}")]
    Unauthorized {
        /// The registry.
        host: String,
        /// What it said.
        why: String,
        /// What the user can do.
        hint: String,
    },
    /// We may not do this.
    #[error("{what}: access denied: {why}")]
    Denied {
        /// The repository or document.
        what: String,
        /// What it said.
        why: String,
        /// What the user can do.
        hint: String,
    },
    /// It is not there.
    #[error("{what}: not found{why}")]
    NotFound {
        /// The document.
        what: String,
        /// What it said, after a colon, or nothing.
        why: String,
    },
    /// Too many requests.
    #[error("{host}: too many requests: {why}")]
    TooMany {
        /// The registry.
        host: String,
        /// What it said.
        why: String,
    },
    /// Another answer than those that mean that it worked.
    #[error("{what}: the registry answered {status}: {why}")]
    Status {
        /// What was asked for.
        what: String,
        /// The status code.
        status: u16,
        /// What it said.
        why: String,
    },
    /// What came is not what its digest promises.
    #[error(
        "{what}: the registry sent content with the digest {got}, not {want}: it is damaged or was tampered with"
    )]
    WrongDigest {
        /// What was asked for.
        what: String,
        /// What it should be.
        want: Digest,
        /// What it is.
        got: Digest,
    },
    /// What came has another length than promised.
    #[error("{what}: the registry sent {got} bytes instead of {want}")]
    WrongSize {
        /// What was asked for.
        what: String,
        /// How many there should be.
        want: u64,
        /// How many came.
        got: u64,
    },
    /// More came than is accepted.
    #[error("{what}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The connection broke while an answer came.
    #[error("{what}: the connection broke")]
    Broken {
        /// What was asked for.
        what: String,
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// An answer comes so slowly that it would never end.
    #[error("{what}: the answer comes too slowly")]
    TooSlow {
        /// What was asked for.
        what: String,
    },
    /// The answer breaks the protocol.
    #[error("{what}: the registry broke the protocol: {why}")]
    Protocol {
        /// What was asked for.
        what: String,
        /// How.
        why: String,
    },
    /// Bytes to send cannot be read, or bytes that came cannot be written.
    #[error("{what}")]
    Local {
        /// What was being done.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<UrlError> for Error {
    fn from(err: UrlError) -> Self {
        Self::Http(err.into())
    }
}

impl Error {
    /// Whether the document or the right to it is missing, so that another
    /// source of the same content may be asked.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// What the user can do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unauthorized { hint, .. } | Self::Denied { hint, .. } => Some(hint),
            Self::Http(HttpError::NoTls(_)) => Some(
                "for a registry without TLS that you trust, set `plain-http = true` in registries.toml or use --tls-verify=false",
            ),
            Self::Http(HttpError::Tls { why, .. }) if why.contains("CertificateRequired") => Some(
                "it wants a certificate of the client: give `client-certificate` and `client-key` in registries.toml, or *.cert and *.key in /etc/docker/certs.d/HOST",
            ),
            Self::Http(HttpError::Tls { .. }) => Some(
                "give the registry's root certificate as `ca` in registries.toml or in /etc/docker/certs.d/HOST/ca.crt; \
                 for a registry without a certificate that you trust, set `skip-tls-verification` there",
            ),
            Self::TooMany { .. } => Some(
                "log in with `rbuild login` for a higher limit, or use a mirror (registries.toml)",
            ),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Http(err) => err.is_passing(),
            Self::Broken { .. } | Self::TooMany { .. } | Self::WrongSize { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// Largest error document that is read, in bytes.
pub(super) const ERROR_LIMIT: u64 = 64 << 10;

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
    /// Token servers and some hubs.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an error body says, on one line; control characters are left out.
///
/// Source: OCI distribution-spec 1.1, "Error codes".
pub(super) fn said(status: u16, body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Document>(body) {
        Ok(document) => {
            let entries = document.errors.iter().map(|entry| {
                match (entry.code.as_str(), entry.message.as_str()) {
                    ("", message) => message.to_owned(),
                    (code, "") => code.to_lowercase().replace('_', " "),
                    (_, message) => message.to_owned(),
                }
            });
            let entries: Vec<String> = entries.collect();
            let other = document
                .message
                .or(document.details)
                .or(document.error_description);
            if entries.is_empty() {
                other.unwrap_or_default()
            } else {
                entries.join("; ")
            }
        }
        Err(_) => String::from_utf8_lossy(body)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let text = harmless(&text);
    if text.is_empty() {
        format!("status {status}")
    } else {
        text
    }
}

/// A text of a server for a terminal: on one line, not long, without characters that
/// command a terminal or change the order of others.
pub(super) fn harmless(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
    };
    let text: String = text.chars().filter(|c| !hidden(*c)).take(500).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_in_every_form() {
        let said = |body: &str| said(404, body.as_bytes());
        assert_eq!(
            said(r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such"},{"code":"A_B"}]}"#),
            "no such; a b"
        );
        assert_eq!(
            said(r#"{"details":"incorrect username or password"}"#),
            "incorrect username or password"
        );
        assert_eq!(said("<html>\n"), "<html>");
        assert_eq!(said(""), "status 404");
        assert_eq!(said("\u{1b}[31mred\u{202e}x"), "[31mredx");
    }
}
