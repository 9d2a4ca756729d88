//! Several pieces of work at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// Most blobs that come or go at once.
pub(super) const AT_ONCE: usize = 4;

/// Does `work` for each number below `count`, several at once; the first
/// failure ends it.
pub(super) fn all<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    if count == 1 {
        return Ok(vec![work(0)?]);
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let failure: Mutex<Option<Error>> = Mutex::default();
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || failed().is_some() {
                        return;
                    }
                    match work(index) {
                        Ok(result) => done
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((index, result)),
                        Err(err) => drop(failed().get_or_insert(err)),
                    }
                }
            });
        }
    });
    if let Some(err) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(err);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
