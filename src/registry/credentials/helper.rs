//! Credential helpers: programs `docker-credential-NAME` that keep secrets.
//!
//! Source: docker-credential-helpers, "Development": the action is the first
//! argument, the server or a JSON document comes on standard input.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Credentials;
use crate::sys::command::{self, CommandError};

/// How long a helper may take: some ask the user to unlock a key ring.
const DEADLINE: Duration = Duration::from_mins(2);
/// What a helper answers when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a helper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It is not installed.
    #[error(
        "the credential helper `docker-credential-{0}` is not in the PATH; install it, or take it out of the client's config.json"
    )]
    Missing(String),
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] CommandError),
    /// It failed.
    #[error("the credential helper `docker-credential-{name}` failed: {why}")]
    Failed {
        /// Its name.
        name: String,
        /// What it said.
        why: String,
    },
}

/// What helpers are told and tell.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper by name, with the environment that it runs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl Helper<'_> {
    /// What it has for `server`; `None` when it has nothing.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, HelperError> {
        let (code, stdout, stderr) = self.run("get", server.as_bytes())?;
        if code != 0 {
            let said = said(&stdout, &stderr);
            let nothing = said.contains(NOT_FOUND) || said.contains("credentials not found");
            return if nothing {
                Ok(None)
            } else {
                Err(self.failed(said))
            };
        }
        let answer: Answer =
            serde_json::from_slice(&stdout).map_err(|err| self.failed(err.to_string()))?;
        if answer.username.is_empty() && answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == TOKEN_USER {
            Credentials::Identity(answer.secret)
        } else {
            Credentials::Password {
                user: answer.username,
                password: answer.secret,
            }
        }))
    }

    /// Gives it credentials to keep.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), HelperError> {
        let (username, secret) = match credentials {
            Credentials::Password { user, password } => (user.clone(), password.clone()),
            Credentials::Identity(token) | Credentials::Bearer(token) => {
                (TOKEN_USER.to_owned(), token.clone())
            }
            Credentials::Anonymous => return self.erase(server),
        };
        let answer = Answer {
            server: server.to_owned(),
            username,
            secret,
        };
        let input = serde_json::to_vec(&answer).map_err(|err| self.failed(err.to_string()))?;
        self.must("store", &input)
    }

    /// Makes it forget.
    pub(super) fn erase(&self, server: &str) -> Result<(), HelperError> {
        self.must("erase", server.as_bytes())
    }

    fn must(&self, action: &str, input: &[u8]) -> Result<(), HelperError> {
        let (code, stdout, stderr) = self.run(action, input)?;
        match code {
            0 => Ok(()),
            _ => Err(self.failed(said(&stdout, &stderr))),
        }
    }

    fn run(&self, action: &str, input: &[u8]) -> Result<(i32, Vec<u8>, Vec<u8>), HelperError> {
        let program = format!("docker-credential-{}", self.name);
        let path = self.environment.get("PATH").map(String::as_str);
        let program = command::find(&program, path)
            .ok_or_else(|| HelperError::Missing(self.name.to_owned()))?;
        let output = command::run_in(&program, &[action], input, DEADLINE, self.environment)?;
        Ok((output.code, output.stdout, output.stderr))
    }

    fn failed(&self, why: String) -> HelperError {
        HelperError::Failed {
            name: self.name.to_owned(),
            why,
        }
    }
}

/// The first line that says something; helpers write errors to either stream.
fn said(stdout: &[u8], stderr: &[u8]) -> String {
    let text = [stdout, stderr].map(String::from_utf8_lossy);
    let line = text
        .iter()
        .flat_map(|text| text.lines())
        .find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing")
        .trim()
        .chars()
        .take(300)
        .collect()
}
