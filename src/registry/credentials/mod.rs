//! Who we are at a registry: `config.json`, its helpers, `auth.json`.
//!
//! Source: Docker's command line reference, "Credential stores" and "Credential
//! helpers"; containers-auth.json(5).

mod file;
mod helper;
mod lookup;

pub use file::ConfigFile;
pub use helper::HelperError;
pub(super) use lookup::basic;
pub use lookup::{Credentials, CredentialsError, Keyring};
