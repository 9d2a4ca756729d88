//! The distribution protocol: what registries are asked, and who we are there.
//!
//! In: references and bytes. Out: verified bytes. [`Client`] is the door; it
//! knows nothing of images, layers or the store.

mod access;
mod blobs;
mod challenge;
mod client;
mod credentials;
mod error;
mod lists;
mod manifests;
mod pause;
mod removal;
mod retry;
mod scope;
mod search;
mod session;
mod settings;
mod token;
mod upload;

pub use access::Access;
pub use blobs::BlobReader;
pub use client::{Client, Target};
pub use credentials::{ConfigFile, Credentials, CredentialsError, HelperError, Keyring};
pub use error::Error;
pub use manifests::{Fetched, Found};
pub use search::SearchHit;
pub use settings::{Endpoint, Settings};
pub use upload::{Tell, Upload, UploadSource};
