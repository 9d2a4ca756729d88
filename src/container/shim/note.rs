//! What happens to the container, for the log of events.

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
        self.note_running();
    }

    /// Notes that the first process runs, on its networks and with its volumes.
    pub(super) fn note_running(&self) {
        let (id, places) = (self.dir.id(), &self.state.networks);
        events::note_places(&self.paths, id, places, "connect");
        events::note_mounts(&self.paths, &self.record, "mount");
        self.note("start", &[]);
    }

    /// Notes the end of the first process.
    pub(super) fn note_end(&self, code: i32, out_of_memory: bool) {
        if out_of_memory {
            self.note("oom", &[]);
        }
        let began = self.state.started_at.unwrap_or_default();
        let seconds = now().saturating_sub(began) / 1_000_000_000;
        let (code, seconds) = (code.to_string(), seconds.to_string());
        self.note("die", &[("exitCode", &code), ("execDuration", &seconds)]);
        let (id, places) = (self.dir.id(), &self.state.networks);
        events::note_places(&self.paths, id, places, "disconnect");
        events::note_mounts(&self.paths, &self.record, "unmount");
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
