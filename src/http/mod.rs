//! Requests over HTTP: one answer for each, nothing followed, everything bounded.
//!
//! In: a [`Request`]. Out: a [`Response`] whose body is read as it arrives.
//! Redirects, authentication and retries belong to the callers, which know what
//! may be sent where. Connections are kept and used again, by any thread.

mod client;
mod error;
mod proxy;
mod request;
#[cfg(test)]
mod tests;
mod trust;
mod url;

pub use client::{Http, Options};
pub use error::HttpError;
pub use request::{Body, Method, Request, Response};
pub use trust::system_bundle;
pub use url::{Url, UrlError};
