//! Changing a container's limits and restart policy.

use serde::{Deserialize, Serialize};

use super::attach::Attached;
use super::dir::Dir;
use super::protocol::Ask;
use super::restart::RestartPolicy;
use super::{Error, Request, find, socket};
use crate::sandbox::ResourceLimits;
use crate::store::Store;

/// What is to be changed; `None` and empty leave it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Limits; those that are absent stay.
    pub resources: ResourceLimits,
    /// The restart policy.
    pub restart: Option<RestartPolicy>,
}

impl Changes {
    /// The limits of `request` with these changes.
    fn applied(&self, request: &Request) -> Request {
        let old = request.resources.clone();
        let new = self.resources.clone();
        Request {
            resources: ResourceLimits {
                memory_bytes: new.memory_bytes.or(old.memory_bytes),
                memory_swap_bytes: new.memory_swap_bytes.or(old.memory_swap_bytes),
                memory_reservation_bytes: new
                    .memory_reservation_bytes
                    .or(old.memory_reservation_bytes),
                nano_cpus: new.nano_cpus.or(old.nano_cpus),
                cpu_period: new.cpu_period.or(old.cpu_period),
                cpu_quota: new.cpu_quota.or(old.cpu_quota),
                cpu_realtime_period: new.cpu_realtime_period.or(old.cpu_realtime_period),
                cpu_realtime_runtime: new.cpu_realtime_runtime.or(old.cpu_realtime_runtime),
                cpu_shares: new.cpu_shares.or(old.cpu_shares),
                cpuset_cpus: new.cpuset_cpus.or(old.cpuset_cpus),
                cpuset_mems: new.cpuset_mems.or(old.cpuset_mems),
                pids: new.pids.or(old.pids),
                blkio_weight: new.blkio_weight.or(old.blkio_weight),
                ..old
            },
            restart: self.restart.unwrap_or(request.restart),
            ..request.clone()
        }
    }

    /// The limits to set where the container runs, whose request is `changed` now.
    /// Memory and swap belong together: what one kernel counts as one, another
    /// counts apart.
    pub(super) fn to_set(&self, changed: &Request) -> ResourceLimits {
        let mut limits = self.resources.clone();
        if limits.memory_bytes.is_some() || limits.memory_swap_bytes.is_some() {
            limits.memory_bytes = changed.resources.memory_bytes;
            limits.memory_swap_bytes = changed.resources.memory_swap_bytes;
        }
        if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            limits.cpu_quota = changed.resources.cpu_quota;
            limits.cpu_period = changed.resources.cpu_period;
        }
        limits
    }

    /// The request after these changes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for limits that contradict each other or what is there.
    pub(super) fn apply(&self, request: &Request) -> Result<Request, Error> {
        let changed = self.applied(request);
        let old = &request.resources;
        if self.resources.nano_cpus.is_some()
            && (old.cpu_quota.is_some() || old.cpu_period.is_some())
        {
            return Err(Error::Invalid(
                "Conflicting options: Nano CPUs cannot be updated as CPU quota/period has already been set"
                    .to_owned(),
            ));
        }
        let raised = self.resources.memory_bytes.unwrap_or(0);
        // Twice the memory where nothing was said of it.
        let implied = old.memory_bytes.map(|bytes| bytes.saturating_mul(2));
        let swap = changed.resources.memory_swap_bytes.or(implied);
        if swap.is_some_and(|swap| raised > swap) {
            return Err(Error::Invalid(
                "Memory limit should be smaller than already set memoryswap limit, \
                 update the memoryswap at the same time"
                    .to_owned(),
            ));
        }
        if changed.auto_remove && changed.restart != RestartPolicy::No {
            return Err(Error::Invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .to_owned(),
            ));
        }
        changed.check_resources(super::check::processors())?;
        Ok(changed)
    }
}

/// Changes the container `text`, at once where it runs. Returns what the user
/// should know of it, one sentence each.
pub fn update(store: &Store, text: &str, changes: &Changes) -> Result<Vec<String>, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    if let Some(socket) = socket::connect_to(&dir)? {
        let mut shim = Attached::new(socket, row.id);
        return shim.demand(&Ask::Update(Box::new(changes.clone())));
    }
    let busy = || Error::Busy(dir.id().to_owned());
    let _changing = dir.try_lock()?.ok_or_else(busy)?;
    let mut record = dir.record()?;
    record.request = changes.apply(&record.request)?;
    dir.write_record(&record)?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_and_contradictions_are_refused() {
        let request = Request {
            resources: ResourceLimits {
                memory_bytes: Some(64 << 20),
                memory_swap_bytes: Some(128 << 20),
                pids: Some(7),
                ..ResourceLimits::default()
            },
            ..Request::default()
        };
        let mut changes = Changes {
            resources: ResourceLimits {
                memory_bytes: Some(100 << 20),
                ..ResourceLimits::default()
            },
            restart: Some(RestartPolicy::Always),
        };
        let changed = changes.apply(&request).unwrap();
        assert_eq!(changed.resources.memory_bytes, Some(100 << 20));
        assert_eq!(changed.resources.pids, Some(7));
        assert_eq!(changed.restart, RestartPolicy::Always);
        let set = changes.to_set(&changed);
        assert_eq!((set.memory_bytes, set.pids), (Some(100 << 20), None));
        assert_eq!(set.memory_swap_bytes, Some(128 << 20));
        changes.resources.memory_bytes = Some(200 << 20);
        assert!(changes.apply(&request).is_err());
        changes.resources.memory_swap_bytes = Some(400 << 20);
        assert!(changes.apply(&request).is_ok());
    }
}
