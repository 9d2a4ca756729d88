//! Docker's default system call filter.
//!
//! One program for the kernel's classic BPF machine: it branches on the
//! architecture, so that 32-bit programs keep working, and finds the call by
//! binary search, which takes fewer steps than a list and fewer instructions than
//! several filters on top of each other (the kernel would run all of them on each
//! call and take the strictest answer).
//!
//! Source: `default.json`, see `NOTICE`.

mod assemble;
mod custom;
mod document;
mod profile;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Seccomp;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The system call numbers of this machine are not in the table.
    #[error("no system call filter is known for this architecture")]
    Architecture,
    /// The profile is no profile.
    #[error("the system call profile cannot be read")]
    Profile(#[from] serde_json::Error),
    /// The profile asks for something that the kernel does not do.
    #[error("unknown action `{0}` in the system call profile")]
    Action(String),
    /// The profile compares arguments in a way that there is not.
    #[error("a rule for `{0}` in the system call profile cannot be understood")]
    Comparison(String),
    /// The kernel takes no filter of that length.
    #[error("the system call profile has too many rules")]
    TooLong,
}

/// The filter for a set of capabilities, given as numbers, as instructions of
/// eight bytes. It is made once a process.
pub(super) fn default_filter(capabilities: &[u8]) -> Result<Arc<[u8]>, Error> {
    static MADE: Mutex<Option<HashMap<u64, Arc<[u8]>>>> = Mutex::new(None);
    let capabilities = capabilities
        .iter()
        .filter(|number| **number < 64)
        .fold(0, |set, number| set | 1_u64 << number);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(filter) = made.get(&capabilities) {
        return Ok(Arc::clone(filter));
    }
    let tables = profile::Profile::parse()?.resolve(capabilities)?;
    let filter: Arc<[u8]> = assemble::assemble(&tables).into();
    made.insert(capabilities, Arc::clone(&filter));
    Ok(filter)
}

/// The filter of a sandbox in the OCI runtime specification's form; none for none.
pub(super) fn as_document(
    seccomp: &Seccomp,
    capabilities: &[u8],
) -> Result<Option<serde_json::Value>, Error> {
    let set = |set, number: &u8| set | 1_u64.checked_shl(u32::from(*number)).unwrap_or(0);
    let capabilities = capabilities.iter().fold(0, set);
    Ok(match seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Default => Some(document::document(None, capabilities)?),
        Seccomp::Profile(text) => Some(document::document(Some(text), capabilities)?),
    })
}

/// The filter that a profile in Docker's JSON form means for these capabilities.
pub(super) fn custom_filter(text: &str, capabilities: &[u8]) -> Result<Arc<[u8]>, Error> {
    let set = |set, number: &u8| set | 1_u64.checked_shl(u32::from(*number)).unwrap_or(0);
    custom::filter(text, capabilities.iter().fold(0, set))
}

#[cfg(test)]
mod tests;
