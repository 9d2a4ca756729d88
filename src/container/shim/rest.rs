//! Pauses, and limits that change while the container runs.

use super::super::record::Status;
use super::super::update::Changes;
use super::super::{Error, bundle};
use super::run::{FIRST, Kept};
use super::session::Session;
use crate::sys::cgroup::{Group, Hierarchies, Limits};

impl Kept {
    /// Stops all processes for a while.
    pub(super) fn pause(&mut self) -> Result<(), Error> {
        let id = self.dir.id().to_owned();
        match self.state.status {
            Status::Paused => return Err(Error::AlreadyPaused(id)),
            Status::Running => {}
            Status::Restarting => return Err(Error::Restarting(id)),
            _ => return Err(Error::NotRunning(id)),
        }
        if let Some(runtime) = self.order.runtime(&self.dir) {
            runtime.pause()?;
        } else {
            let group = self.group()?;
            group
                .freeze()
                .map_err(|source| Error::Freezer { id, source })?;
        }
        self.set_status(Status::Paused)?;
        self.note("pause", &[]);
        Ok(())
    }

    /// Lets them go on.
    pub(super) fn unpause(&mut self) -> Result<(), Error> {
        let id = self.dir.id().to_owned();
        if self.state.status != Status::Paused {
            return Err(Error::NotPaused(id));
        }
        if let Some(runtime) = self.order.runtime(&self.dir) {
            runtime.resume()?;
        } else {
            let group = self.group()?;
            group
                .thaw()
                .map_err(|source| Error::Freezer { id, source })?;
        }
        if let Some(probe) = &mut self.probe {
            probe.postpone();
        }
        self.set_status(Status::Running)?;
        self.note("unpause", &[]);
        Ok(())
    }

    fn set_status(&mut self, status: Status) -> Result<(), Error> {
        self.state.status = status;
        Ok(self.dir.write_state(&self.state)?)
    }

    /// Changes limits and policy, in the record and where the container runs.
    pub(super) fn update(&mut self, changes: &Changes) -> Result<Vec<String>, Error> {
        let mut record = self.record.clone();
        record.request = changes.apply(&record.request)?;
        let mut warnings = Vec::new();
        if changes.resources != Limits::default() && self.sessions.contains_key(&FIRST) {
            if let Some(runtime) = self.order.runtime(&self.dir) {
                runtime.update(&changes.resources)?;
            } else {
                let group = self.group()?;
                warnings = group.limit(&changes.to_set(&record.request));
            }
        }
        self.dir.write_record(&record)?;
        self.record = record;
        self.note("update", &[]);
        Ok(warnings)
    }

    /// The container's group. A container that nobody limits has none until it is
    /// needed, because joining one takes longer than all the rest of a start;
    /// then its processes are taken in while they run.
    fn group(&mut self) -> Result<Group, Error> {
        let id = self.dir.id();
        let failed = |source| Error::Freezer {
            id: id.to_owned(),
            source,
        };
        if let Some(group) = &self.late_group {
            return Ok(group.clone());
        }
        let request = &self.record.request;
        let name = bundle::group_name(request, id);
        if bundle::cgroup(request, id).is_some() {
            let group = Group::existing(&Hierarchies::discover(), &name).map_err(failed)?;
            if !group.is_empty() {
                return Ok(group);
            }
        }
        let hierarchies = Hierarchies::discover();
        let (group, _) = Group::create(&hierarchies, &name, &Limits::default()).map_err(failed)?;
        let roots: Vec<i32> = self.sessions.values().map(Session::pid).collect();
        if let Err(source) = group.adopt(&roots) {
            return Err(failed(source));
        }
        self.late_group = Some(group.clone());
        Ok(group)
    }
}
