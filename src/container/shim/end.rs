//! The ends of programs, of runs, and of the container.

use std::time::Instant;

use super::super::protocol::{Exited, Tell};
use super::super::record::Status;
use super::super::signal::SIGKILL;
use super::super::{Error, now, remove};
use super::run::{FIRST, Kept};
use crate::store::Store;
use crate::sys::process;

impl Kept {
    /// A program ended: its last output goes out, then its code.
    pub(super) fn end(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (exit, out_of_memory) = session.wait();
        // What is in the pipes is all there will be. After an exec others may
        // still hold them; what they write later belongs to nobody.
        while self.carry(id, 0) {}
        while self.carry(id, 1) {}
        let ended = self.sessions.remove(&id);
        if id == FIRST {
            drop(ended);
            self.end_run(exit.code(), out_of_memory);
            self.tell_end(id, exit.code());
        } else {
            self.note_exec_end(id, exit.code());
            self.probe_ended(id, exit.code());
            self.tell_end(id, exit.code());
            // Its init is collected when nobody waits any more.
            drop(ended);
            process::give_memory_back();
        }
    }

    fn tell_end(&mut self, id: u64, code: i32) {
        let told = Tell::Exited(Exited { code });
        for client in &mut self.clients {
            if client.session == Some(id) {
                client.tell(&told);
            }
        }
    }

    /// The first process ended: it is started again soon, or all is over.
    fn end_run(&mut self, code: i32, out_of_memory: bool) {
        self.log.finish();
        self.network = None;
        self.probe = None;
        self.note_end(code, out_of_memory);
        if let Some(group) = self.late_group.take() {
            group.remove();
        }
        let policy = self
            .dir
            .record()
            .map_or(self.record.request.restart, |record| record.request.restart);
        if !self.stopping && policy.wants(code, self.state.restarts) {
            let pause = self.pauses.next(self.started.elapsed());
            self.state = self.state.clone().restarting(code, out_of_memory, now());
            self.restart_at = Some(Instant::now() + pause);
            // Should this not be written, the container is seen as running a little longer.
            let _kept = self.dir.write_state(&self.state);
            return;
        }
        self.state = self.state.clone().exited(code, out_of_memory, now());
        if let Some(lost) = self.log.lost() {
            self.state.error = lost;
        }
        self.close();
    }

    /// Writes the end down and gives everything back, before anybody hears of it.
    pub(super) fn close(&mut self) {
        self.state.stopped_by_user = self.stopping;
        // An end that cannot be written down is seen all the same, as a lost shim.
        if self.record.request.auto_remove {
            let store = self
                .store
                .take()
                .map_or_else(|| Store::open(self.paths.clone()).map_err(Error::from), Ok);
            let _kept = store.and_then(|store| remove::erase(&store, &self.dir, true));
        } else {
            let _kept = self.dir.write_state(&self.state);
            let _kept = crate::fs::remove_tree(self.dir.run());
        }
        // Whoever came in the meantime is told as well; later ones read the state.
        self.accept();
        self.listener = None;
        for at in 0..self.clients.len() {
            self.hear(at);
        }
        self.lock = None;
    }

    /// Sends a signal to a program. One that stops the container as its own stop
    /// signal does keeps it from being started again.
    pub(super) fn signal(&mut self, id: u64, signal: i32) -> Result<(), Error> {
        let request = &self.record.request;
        let ends = request.stop_signal.is_none()
            || signal == SIGKILL
            || signal == request.stop_signal_number();
        if id == FIRST && ends {
            return self.stop(signal);
        }
        self.send_signal(id, signal)
    }

    /// Asks the container to end, and to stay so.
    pub(super) fn stop(&mut self, signal: i32) -> Result<(), Error> {
        self.stopping = true;
        if self.restart_at.take().is_some() {
            let code = self.state.exit_code;
            self.state.status = Status::Exited;
            self.state.shim = None;
            self.close();
            self.tell_end(FIRST, code);
            return Ok(());
        }
        self.send_signal(FIRST, signal)?;
        if self.state.status == Status::Paused {
            // It could not hear of it otherwise.
            self.unpause()?;
        }
        Ok(())
    }

    fn send_signal(&self, id: u64, signal: i32) -> Result<(), Error> {
        let sent = self.sessions.get(&id).map(|session| session.signal(signal));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(Error::NotRunning(self.dir.id().to_owned())),
        }
    }
}
