//! Pauses between attempts, which nobody has to sit out who wants no answer any more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The pauses of a session.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until the end.
    pub(super) fn pause(&self, duration: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), duration, |over| !*over);
        drop(waited.map_err(PoisonError::into_inner));
    }

    /// Ends every pause, now and later.
    pub(super) fn end(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Whether another attempt makes no sense.
    pub(super) fn is_over(&self) -> bool {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_ends_pauses() {
        let pauses = Pauses::default();
        std::thread::scope(|scope| {
            scope.spawn(|| pauses.pause(Duration::from_hours(1)));
            pauses.end();
        });
        pauses.pause(Duration::from_hours(1));
        assert!(pauses.is_over());
    }
}
