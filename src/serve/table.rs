//! The connections that are open, and who of them makes room.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections at once.
const MOST: usize = 512;

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Entry>,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    socket: TcpStream,
    /// Since when it waits for a request, unless it has one.
    idle: Option<Instant>,
}

/// Every open connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    state: Mutex<State>,
    changed: Condvar,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection. When there are too many, the one that was idle for
    /// longest ends; `None` when all are busy and stay so for a moment.
    pub(super) fn admit(&self, socket: &TcpStream) -> Option<u64> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let socket = socket.try_clone().ok()?;
        let mut state = self.lock();
        if state.open.len() >= MOST {
            let idle = state.open.values().filter(|entry| entry.idle.is_some());
            if let Some(entry) = idle.min_by_key(|entry| entry.idle) {
                let _gone = entry.socket.shutdown(Shutdown::Both);
            }
            let full = |state: &mut State| state.open.len() >= MOST;
            let waited = self.changed.wait_timeout_while(state, PATIENCE, full);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.open.len() >= MOST {
                return None;
            }
        }
        let id = state.next;
        state.next += 1;
        let idle = Some(Instant::now());
        state.open.insert(id, Entry { socket, idle });
        Some(id)
    }

    /// Says that a connection waits for its next request; whether it may.
    pub(super) fn rest(&self, id: u64) -> bool {
        let mut state = self.lock();
        if let Some(entry) = state.open.get_mut(&id) {
            entry.idle = Some(Instant::now());
        }
        !state.stopping
    }

    /// Says that a connection has a request.
    pub(super) fn work(&self, id: u64) {
        if let Some(entry) = self.lock().open.get_mut(&id) {
            entry.idle = None;
        }
    }

    /// Takes a connection out.
    pub(super) fn leave(&self, id: u64) {
        self.lock().open.remove(&id);
        self.changed.notify_all();
    }

    /// Ends every idle connection, and all others when they are done or `patience` is over.
    pub(super) fn stop(&self, patience: Duration) {
        let mut state = self.lock();
        state.stopping = true;
        for entry in state.open.values().filter(|entry| entry.idle.is_some()) {
            let _gone = entry.socket.shutdown(Shutdown::Both);
        }
        let some = |state: &mut State| !state.open.is_empty();
        let waited = self.changed.wait_timeout_while(state, patience, some);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        for entry in state.open.values() {
            let _gone = entry.socket.shutdown(Shutdown::Both);
        }
        // Their threads have a moment to notice.
        let moment = Duration::from_secs(1);
        drop(self.changed.wait_timeout_while(state, moment, some));
    }
}
