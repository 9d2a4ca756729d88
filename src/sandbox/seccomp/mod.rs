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
mod profile;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The system call numbers of this machine are not in the table.
    #[error("no system call filter is known for this architecture")]
    Architecture,
    /// The profile that this program carries is damaged.
    #[error("the system call profile is damaged")]
    Profile(#[from] serde_json::Error),
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

#[cfg(test)]
mod tests;
