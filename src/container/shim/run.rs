//! A container's run, from its start order to its end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use serde_json::Value;

use super::super::dir::{self, Dir};
use super::super::health::HealthState;
use super::super::protocol::{StartOrder, Tell};
use super::super::record::{Record, State};
use super::super::restart::BackOff;
use super::super::{Error, links, now, remove, socket};
use super::client::Client;
use super::log::Log;
use super::network::Network;
use super::probe::Probe;
use super::refusal;
use super::session::{Session, Wiring};
use super::setup;
use crate::fs::Lock;
use crate::sandbox::{self, Outside, ReadyInit};
use crate::store::{Paths, Store};
use crate::sys::cgroup::Group;

/// The session of the container's first process.
pub(super) const FIRST: u64 = 0;

/// Starts the container and stays with it; returns the process' exit code.
pub(super) fn run(socket: OwnedFd, order: StartOrder, init: Option<ReadyInit>) -> i32 {
    let mut starter = Client::new(socket);
    let attach = order.attach;
    match Kept::start(order, init) {
        Ok(mut kept) => {
            starter.tell(&Tell::Started(kept.warnings()));
            if let Some(streams) = attach {
                starter.streams = streams;
                starter.session = Some(FIRST);
            }
            kept.note_start(attach.is_some());
            kept.clients.push(starter);
            kept.open_store();
            kept.serve();
            0
        }
        Err(error) => {
            // A short message to a socket that was never used: there is room.
            starter.tell(&refusal(&error));
            1
        }
    }
}

/// A running container and everybody who listens to it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) order: StartOrder,
    pub(super) dir: Dir,
    pub(super) paths: Paths,
    pub(super) record: Record,
    pub(super) state: State,
    pub(super) lock: Option<Lock>,
    pub(super) listener: Option<OwnedFd>,
    pub(super) network: Option<Network>,
    pub(super) hostname: String,
    /// Open from the start where the end needs it.
    pub(super) store: Option<Store>,
    pub(super) log: Log,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) next_session: u64,
    /// Under which ID an exec stands in the log of events.
    pub(super) exec_ids: BTreeMap<u64, String>,
    pub(super) clients: Vec<Client>,
    /// When the first process was started.
    pub(super) started: Instant,
    pub(super) pauses: BackOff,
    /// When the first process is started again; nothing while it runs.
    pub(super) restart_at: Option<Instant>,
    /// Whether somebody asked for the end.
    pub(super) stopping: bool,
    /// The group that was made after the start, and is this process' to remove.
    pub(super) late_group: Option<Group>,
    pub(super) probe: Option<Probe>,
}

/// What a start makes.
struct Launched {
    session: Session,
    network: Network,
    hostname: String,
    state: State,
}

impl Kept {
    fn start(order: StartOrder, init: Option<ReadyInit>) -> Result<Self, Error> {
        let paths = Paths::new(order.data.clone(), order.run.clone());
        let dir = Dir::new(&paths, &order.id);
        let busy = || Error::Busy(order.id.clone());
        let lock = dir.try_lock()?.ok_or_else(busy)?;
        let started = Self::first(order, init, dir.clone(), paths.clone());
        let started = started.inspect_err(|error| {
            // The first failure is the one to tell.
            let _kept = remove::after_failed_start(&paths, &dir, error);
        })?;
        Ok(Self {
            lock: Some(lock),
            ..started
        })
    }

    fn first(
        order: StartOrder,
        init: Option<ReadyInit>,
        dir: Dir,
        paths: Paths,
    ) -> Result<Self, Error> {
        let record = dir.record()?;
        let before = dir.state()?.started_by_user();
        let log = Log::open(&dir, &record, &order.name)?;
        let listener = socket::listen(&dir)?;
        let Launched {
            session,
            network,
            hostname,
            state,
        } = launch(&order, init, &dir, &record, before)?;
        let probe = Probe::new(&record.request);
        Ok(Self {
            order,
            dir,
            paths,
            record,
            state,
            lock: None,
            listener: Some(listener),
            network: Some(network),
            hostname,
            store: None,
            log,
            sessions: BTreeMap::from([(FIRST, session)]),
            next_session: FIRST + 1,
            exec_ids: BTreeMap::new(),
            clients: Vec::new(),
            started: Instant::now(),
            pauses: BackOff::default(),
            restart_at: None,
            stopping: false,
            late_group: None,
            probe,
        })
    }

    /// Starts the first process again. One that cannot be started has ended.
    pub(super) fn relaunch(&mut self) {
        self.restart_at = None;
        // Limits and policy may have been changed.
        let record = self.dir.record().unwrap_or_else(|_| self.record.clone());
        self.record = record;
        match launch(
            &self.order,
            None,
            &self.dir,
            &self.record,
            self.state.clone(),
        ) {
            Ok(launched) => {
                self.sessions.insert(FIRST, launched.session);
                self.network = Some(launched.network);
                self.state = launched.state;
                self.hostname = launched.hostname;
                self.started = Instant::now();
                self.note_run();
                self.probe = Probe::new(&self.record.request);
            }
            Err(error) => {
                let code = i32::from(error.run_code());
                self.state = self.state.clone().not_started(code, error.chain());
                self.close();
            }
        }
    }

    /// Opens the store for the removal at the end, while the program gets going:
    /// then its end does not wait for that.
    fn open_store(&mut self) {
        if self.record.request.auto_remove {
            self.store = Store::open(self.paths.clone()).ok();
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.sessions.values().flat_map(Session::warnings).collect()
    }
}

/// Starts the first process with everything around it, and writes that down. `init`
/// is used where it is there.
fn launch(
    order: &StartOrder,
    init: Option<ReadyInit>,
    dir: &Dir,
    record: &Record,
    before: State,
) -> Result<Launched, Error> {
    let request = &record.request;
    let paths = Paths::new(order.data.clone(), order.run.clone());
    let mut network = Network::join(order, dir, record)?;
    let hostname = setup::hostname(order, request, &paths)?;
    let spec = setup::prepare(order, dir, record, &network, &hostname)?;
    let wiring = Wiring {
        terminal: request.tty,
        stdin: request.open_stdin,
    };
    let session = Session::start(wiring, |stdio| match order.runtime(dir) {
        None => sandbox::spawn_forked(&spec, stdio, network.namespace(), init),
        Some(runtime) => {
            let outside = Outside {
                annotations: request.annotations.clone(),
                hooks: Value::Object(order.edits.hooks.clone()),
            };
            sandbox::spawn_outside(&runtime, &spec, outside, stdio, network.namespace())
        }
    })?;
    let mut state = before.running(session.pid(), dir::current_process(), now());
    state.health = request.probe().map(|_| HealthState::starting());
    state.networks = network.places().to_vec();
    network.publish()?;
    state.ports = network.ports();
    dir.write_state(&state)?;
    links::announce(&paths, dir, &state);
    Ok(Launched {
        session,
        network,
        hostname,
        state,
    })
}
