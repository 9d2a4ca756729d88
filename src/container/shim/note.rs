//! What happens to the container, for the log of events.

use super::super::mounts::MountRequest;
use super::super::protocol::ExecOrder;
use super::super::{events, names, now};
use super::run::Kept;

impl Kept {
    /// Notes something in the log of events.
    pub(super) fn note(&self, action: &str, more: &[(&str, &str)]) {
        events::note_of(&self.paths, &self.dir, &self.record.request, action, more);
    }

    /// Notes a start that somebody asked for.
    pub(super) fn note_start(&self, attached: bool) {
        if attached {
            self.note("attach", &[]);
        }
        self.note_run();
    }

    /// Notes that the first process runs, and what of networks and volumes it has.
    pub(super) fn note_run(&self) {
        for (volume, target, writable) in self.volumes() {
            let writable = writable.to_string();
            let more = [
                ("container", self.dir.id()),
                ("destination", target),
                ("propagation", ""),
                ("read/write", writable.as_str()),
            ];
            events::note_volume(&self.paths, "mount", volume, &more);
        }
        self.note_networks("connect");
        self.note("start", &[]);
    }

    /// Notes that networks and volumes are given back.
    fn note_given_back(&self) {
        self.note_networks("disconnect");
        for (volume, ..) in self.volumes() {
            let more = [("container", self.dir.id())];
            events::note_volume(&self.paths, "unmount", volume, &more);
        }
    }

    fn note_networks(&self, action: &str) {
        for place in &self.state.networks {
            let container = self.dir.id();
            events::note_network(&self.paths, action, place, container);
        }
    }

    /// The volumes by name, where they are mounted, and whether they can be written to.
    fn volumes(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let anonymous = self.record.volumes.iter();
        let anonymous =
            anonymous.map(|own| (own.name.as_str(), own.target.as_str(), !own.read_only));
        let named = self
            .record
            .request
            .mounts
            .iter()
            .filter_map(|one| match one {
                MountRequest::Volume {
                    name: Some(name),
                    target,
                    read_only,
                    ..
                } => Some((name.as_str(), target.as_str(), !read_only)),
                _ => None,
            });
        anonymous.chain(named)
    }

    /// Notes the end of the first process.
    pub(super) fn note_end(&self, code: i32, out_of_memory: bool) {
        if out_of_memory {
            self.note("oom", &[]);
        }
        self.note_given_back();
        let began = self.state.started_at.unwrap_or_default();
        let seconds = now().saturating_sub(began) / 1_000_000_000;
        let (code, seconds) = (code.to_string(), seconds.to_string());
        self.note("die", &[("exitCode", &code), ("execDuration", &seconds)]);
    }

    /// Notes a further program.
    pub(super) fn note_exec(&mut self, session: u64, order: &ExecOrder) {
        let id = names::new_id();
        let command = order.argv.join(" ");
        let more = [("execID", id.as_str())];
        self.note(&format!("exec_create: {command}"), &more);
        self.note(&format!("exec_start: {command}"), &more);
        self.exec_ids.insert(session, id);
    }

    /// Notes the end of a further program, if its start was noted.
    pub(super) fn note_exec_end(&mut self, session: u64, code: i32) {
        if let Some(exec) = self.exec_ids.remove(&session) {
            let code = code.to_string();
            self.note("exec_die", &[("execID", &exec), ("exitCode", &code)]);
        }
    }
}
