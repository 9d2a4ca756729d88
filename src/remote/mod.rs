//! What a build takes from elsewhere: files from web servers, trees from git
//! repositories.
//!
//! In: an address, and what the caller knows of it from the last time. Out: a
//! file's bytes, or a directory filled from a commit. What is remembered
//! between builds, and under which key, is the caller's business.
//!
//! Everything that answers is hostile. Redirects, sizes and times are bounded;
//! certificates are checked against the system's list; git runs with a
//! configuration in which a repository can name no program. Credentials come from
//! a lookup function, go to the host that they are for, and never reach an
//! error, a log or a command line.

mod checksum;
mod error;
pub mod git;
pub mod http;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use checksum::{Checksum, ParseChecksumError};
pub use error::Error;

/// What may be downloaded, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Variables of the user's environment; `http_proxy`, `https_proxy`, `all_proxy`,
    /// `no_proxy` in either letter case, `SSL_CERT_FILE`, `PATH` and `HOME` are looked at.
    pub environment: BTreeMap<String, String>,
    /// Most bytes of one file, or of one repository with its checked-out tree.
    pub limit_bytes: u64,
    /// How long a server may stay silent. Over the same time at least a few
    /// kilobytes must arrive.
    pub idle: Duration,
}

impl Default for Settings {
    /// 16 GiB, one minute, no environment.
    fn default() -> Self {
        Self {
            environment: BTreeMap::new(),
            limit_bytes: 16 << 30,
            idle: Duration::from_mins(1),
        }
    }
}

/// Where things are fetched from, for one build.
#[expect(
    missing_debug_implementations,
    reason = "it leads to credentials, which no log may show"
)]
pub struct Remote<'a> {
    /// What is allowed.
    pub settings: &'a Settings,
    /// The value of a secret by name, for names such as `HTTP_AUTH_TOKEN_<host>` and `GIT_AUTH_TOKEN`.
    pub secret: &'a (dyn Fn(&str) -> Option<Vec<u8>> + Sync),
    /// The socket of the agent that git over SSH may use.
    pub ssh_agent: Option<&'a Path>,
    /// Asked several times a second; once it says yes, everything ends.
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Remote<'a> {
    /// With these settings, without credentials, until the end.
    pub fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            secret: &|_| None,
            ssh_agent: None,
            canceled: &|| false,
        }
    }

    /// A variable of the user's environment, in lower or upper case.
    fn variable(&self, name: &str) -> Option<&str> {
        let environment = &self.settings.environment;
        let value = environment
            .get(&name.to_lowercase())
            .filter(|value| !value.is_empty())
            .or_else(|| environment.get(&name.to_uppercase()))?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// An address without its credentials, whatever it is.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://xxxxx{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redact("https://u:p@h/a"), "https://xxxxx@h/a");
        assert_eq!(redact("https://h/a@b"), "https://h/a@b");
        assert_eq!(redact("git@h:a"), "git@h:a");
    }
}
