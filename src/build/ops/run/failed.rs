//! Trees of RUN steps that failed, kept until somebody has looked at them.

use std::sync::{Mutex, PoisonError};

use super::RunError;
use crate::progress::StepId;
use crate::snapshot::Active;
use crate::store::{SnapshotId, Store};

/// The trees that failed steps of one build left. They must be taken or cleared
/// away in the end.
#[derive(Debug, Default)]
pub(in crate::build) struct Failed {
    /// Whether anybody will look.
    wanted: bool,
    held: Mutex<Vec<Paused>>,
}

#[derive(Debug)]
struct Paused {
    step: StepId,
    tree: SnapshotId,
    parent: Option<SnapshotId>,
}

/// A tree as the failed command left it.
#[derive(Debug)]
pub(in crate::build) struct Held<'a> {
    /// What the command wrote.
    pub(in crate::build) active: Active<'a>,
    /// What lies beneath.
    pub(in crate::build) parent: Option<SnapshotId>,
}

impl Failed {
    /// Keeps trees only if somebody wants to look at them.
    pub(in crate::build) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            held: Mutex::default(),
        }
    }

    /// Keeps the tree of a step if its command was to blame.
    pub(super) fn hold(
        &self,
        step: StepId,
        active: Active<'_>,
        parent: Option<SnapshotId>,
        error: &RunError,
    ) {
        if self.wanted && !matches!(error, RunError::Canceled) {
            self.forget(active.store(), step);
            let tree = active.pause();
            self.lock().push(Paused { step, tree, parent });
        }
    }

    /// The tree of a step.
    pub(in crate::build) fn take<'a>(&self, store: &'a Store, step: StepId) -> Option<Held<'a>> {
        let mut held = self.lock();
        let at = held.iter().position(|held| held.step == step)?;
        let paused = held.swap_remove(at);
        Some(Held {
            active: Active::resume(store, paused.tree),
            parent: paused.parent,
        })
    }

    /// Removes the tree of a step, which is tried again.
    pub(super) fn forget(&self, store: &Store, step: StepId) {
        drop(self.take(store, step));
    }

    /// Removes what nobody took: trees of steps that were stopped because another
    /// one had failed.
    pub(in crate::build) fn clear(&self, store: &Store) {
        for paused in self.lock().drain(..) {
            drop(Active::resume(store, paused.tree));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Paused>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
