//! What restart policies ask for when the machine has started.

use super::dir::Dir;
use super::restart::RestartPolicy;
use super::{Error, Machine, StartOptions, start};
use crate::store::Store;

/// The name of a container, and what became of its start.
pub type ByPolicy = (String, Result<(), Error>);

/// Starts the containers that do not run and whose policy wants them to: those
/// with `always`, those with `unless-stopped` that nobody stopped, those with
/// `on-failure` that failed. Returns the name of each with what became of it.
///
/// Source: moby, `daemon/daemon.go`, restore.
pub fn start_by_policy(store: &Store, machine: &Machine) -> Result<Vec<ByPolicy>, Error> {
    let mut started = Vec::new();
    for row in store.container_list()? {
        let dir = Dir::new(store.paths(), &row.id);
        let (Ok(record), Ok(state)) = (dir.record(), dir.state()) else {
            continue;
        };
        let was_started = state.started_at.is_some();
        let wanted = match record.request.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !state.stopped_by_user,
            RestartPolicy::OnFailure(_) => state.exit_code != 0 && !state.stopped_by_user,
        };
        if wanted && was_started && !state.is_running() {
            let result = start(store, &row.id, StartOptions::default(), machine);
            started.push((row.name, result.map(drop)));
        }
    }
    Ok(started)
}
