//! Numbers for the steps of a build.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::progress::StepId;

/// Gives each number once.
#[derive(Debug)]
pub(super) struct Counter(AtomicU32);

impl Counter {
    /// Begins with `first`.
    pub(super) fn new(first: u32) -> Self {
        Self(AtomicU32::new(first))
    }

    /// The first of so many numbers in a row.
    pub(super) fn take(&self, count: usize) -> u32 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // It ends where no more steps could be told apart anyway.
        let add = |first: u32| Some(first.saturating_add(count));
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        {
            Ok(first) | Err(first) => first,
        }
    }

    /// The next number.
    pub(super) fn one(&self) -> StepId {
        StepId(self.take(1))
    }
}
