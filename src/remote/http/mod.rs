//! Files from web servers.
//!
//! One GET with what is known of the file from the last time, redirects followed;
//! then its bytes, watched for silence and counted. Credentials stay with the
//! server that they are for.

mod client;
mod download;
mod name;
#[cfg(test)]
mod tests;

pub use client::{Answer, Incoming, Validators};
pub use download::Downloaded;
pub use name::{UNNAMED, address, file_name};
