//! How each operation runs: inputs that are trees to a result that is a tree.

pub(super) mod copy;
pub(super) mod link;
pub(super) mod run;
pub(super) mod workdir;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::fetch::Fetcher;
use super::graph::ContextId;
use super::redact::Redactor;
use super::remote_cache::Imports;
use super::{BuildRequest, Cancel};
use crate::context::Context;
use crate::fs::PathError;
use crate::network;
use crate::oci::passwd::{Account, Users};
use crate::progress::{Event, Sink, StepId};
use crate::snapshot::{self, View};
use crate::store::{CacheMountKey, SnapshotId, Store};

/// The time of files that have none of their own, such as a directory that COPY
/// has to make: the first moment that a zip archive can hold, so that layers do
/// not depend on the clock.
pub(super) const FIXED_TIME: i64 = 315_532_800;
/// Largest passwd or group file that is read.
const USERS_LIMIT: u64 = 16 << 20;

/// The network namespace that RUN steps of one build share, once one of them has
/// made it.
pub(super) type SharedNetwork = Arc<OnceLock<Result<network::Attachment, String>>>;

/// Cache mounts that a build has begun anew.
pub(super) type Renewed = Mutex<BTreeSet<CacheMountKey>>;

/// What operations work with.
pub(super) struct Tools<'a> {
    /// The store.
    pub(super) store: &'a Store,
    /// What comes from servers.
    pub(super) fetcher: &'a Fetcher<'a>,
    /// The build contexts, the main one first.
    pub(super) contexts: &'a [Context],
    /// The request, for what RUN steps get.
    pub(super) request: &'a BuildRequest,
    /// Where progress goes.
    pub(super) sink: &'a dyn Sink,
    /// The latest time that a new file may have, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    /// Stops running steps.
    pub(super) cancel: &'a Cancel,
    /// Files of this build alone, removed with it.
    pub(super) scratch: &'a Path,
    /// The network namespace that RUN steps share, made when one needs it.
    pub(super) network: SharedNetwork,
    /// Keeps secrets out of what is shown.
    pub(super) redactor: &'a Redactor,
    /// What other data roots have exported.
    pub(super) imports: &'a Imports<'a>,
    /// The variables that are arguments of the build, for explanations.
    pub(super) arguments: BTreeSet<String>,
    /// Cache mounts that this build has begun anew, because it may not use the cache.
    pub(super) renewed: &'a Renewed,
}

impl<'a> Tools<'a> {
    /// A file's time as a layer may have it.
    pub(super) fn clamp(&self, mtime: i64) -> i64 {
        self.epoch.map_or(mtime, |latest| mtime.min(latest))
    }

    /// A build context. The plan names only those that are there.
    pub(super) fn context(&self, id: ContextId) -> &'a Context {
        &self.contexts[id.0]
    }

    /// Cache mounts that this build has begun anew.
    pub(super) fn renewed_caches(&self) -> MutexGuard<'_, BTreeSet<CacheMountKey>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a step.
    pub(super) fn note(&self, step: StepId, text: String) {
        self.sink.event(Event::Note { step, text });
    }
}

/// The users of a tree.
pub(super) fn users(view: &View) -> Result<Users, PathError> {
    let read =
        |path| Ok::<_, PathError>(view.read(Path::new(path), USERS_LIMIT)?.unwrap_or_default());
    Ok(Users::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// The account that a user as written stands for; root for an empty text.
pub(super) fn account(
    store: &Store,
    tree: Option<SnapshotId>,
    user: &str,
) -> Result<Account, AccountError> {
    let view = View::open(store, tree)?;
    Ok(users(&view)?.resolve(if user.is_empty() { "0" } else { user })?)
}

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    /// It is not in the image.
    #[error(transparent)]
    User(#[from] crate::oci::passwd::UserError),
    /// The tree cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] PathError),
}
