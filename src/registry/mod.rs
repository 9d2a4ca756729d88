//! The distribution protocol: what registries are asked, and who we are there.

mod challenge;
mod credentials;
mod scope;
mod settings;

pub use credentials::{ConfigFile, Credentials, CredentialsError, HelperError, Keyring};
pub use settings::{Endpoint, Settings};
