//! Files from web servers.
//!
//! A request is one GET, with what is known of the file from the last time. Redirects are
//! followed here, so that none leads to an unencrypted place, and credentials stay
//! with their server.

mod client;
mod download;
mod proxy;
mod roots;
#[cfg(test)]
mod tests;
mod url;

pub use client::{Answer, Incoming, Validators};
pub use download::Downloaded;
pub use url::{UNNAMED, Url, redact};
