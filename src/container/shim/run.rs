//! A container's run, from its start order to its end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};

use super::super::dir::{self, Dir};
use super::super::logs::Stream;
use super::super::protocol::{Ask, ExecOrder, Exited, StartOrder, Streams, Tell};
use super::super::record::{Record, State};
use super::super::request::Request;
use super::super::{Error, events, exec, names, now, remove, socket};
use super::client::Client;
use super::log::Writer;
use super::network::Network;
use super::refusal;
use super::session::{Part, Session, Wiring};
use super::setup;
use crate::fs::Lock;
use crate::sandbox;
use crate::store::{Paths, Store};

/// The session of the container's first process.
const FIRST: u64 = 0;

/// Starts the container and stays with it; returns the process' exit code.
pub(super) fn run(socket: OwnedFd, order: &StartOrder) -> i32 {
    let mut starter = Client::new(socket);
    match Kept::start(order) {
        Ok(mut kept) => {
            let attached = order.attach.is_some();
            kept.note_start(attached);
            starter.tell(&Tell::Started(kept.warnings()));
            if let Some(streams) = order.attach {
                starter.streams = streams;
                starter.session = Some(FIRST);
            }
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
struct Kept {
    dir: Dir,
    paths: Paths,
    record: Record,
    state: State,
    lock: Option<Lock>,
    listener: Option<OwnedFd>,
    network: Option<Network>,
    hostname: String,
    /// Open from the start where the end needs it.
    store: Option<Store>,
    log: Writer,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    /// Under which ID an exec stands in the log of events.
    exec_ids: BTreeMap<u64, String>,
    clients: Vec<Client>,
}

/// Where published ports lead: to the container's first address.
fn target(state: &State) -> Ipv4Addr {
    state
        .networks
        .first()
        .map_or(Ipv4Addr::LOCALHOST, |place| place.address)
}

/// What a descriptor of the loop belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Client(usize),
    Session(u64, Part),
}

impl Kept {
    fn start(order: &StartOrder) -> Result<Self, Error> {
        let paths = Paths::new(order.data.clone(), order.run.clone());
        let dir = Dir::new(&paths, &order.id);
        let busy = || Error::Busy(order.id.clone());
        let lock = dir.try_lock()?.ok_or_else(busy)?;
        let started = Self::launch(order, dir.clone(), paths.clone());
        let started = started.inspect_err(|error| {
            // The first failure is the one to tell.
            let _kept = remove::after_failed_start(&paths, &dir, error);
        })?;
        Ok(Self {
            lock: Some(lock),
            ..started
        })
    }

    fn launch(order: &StartOrder, dir: Dir, paths: Paths) -> Result<Self, Error> {
        let record = dir.record()?;
        let before = dir.state()?;
        let request = &record.request;
        let mut network = Network::join(order, &dir, &record)?;
        let hostname = setup::hostname(order, request, &paths)?;
        let spec = setup::prepare(order, &dir, &record, &network, &hostname)?;
        let log = Writer::open(&dir.log())?;
        let listener = socket::listen(&dir)?;
        let wiring = Wiring {
            terminal: request.tty,
            stdin: request.open_stdin,
        };
        let session = Session::start(wiring, |stdio| {
            sandbox::spawn(&spec, stdio, network.namespace())
        })?;
        let mut state = before.running(session.pid(), dir::current_process(), now());
        state.networks = network.places().to_vec();
        if let Some(publisher) = &mut network.publisher {
            publisher.start(target(&state))?;
            state.ports = publisher.forwards().to_vec();
        }
        dir.write_state(&state)?;
        Ok(Self {
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
        })
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

    /// Serves until every program has ended and everybody was told.
    fn serve(&mut self) {
        while !self.sessions.is_empty() || self.clients.iter().any(|client| !client.is_settled()) {
            let Some(ready) = self.poll() else { return };
            for (source, flags) in ready {
                self.handle(source, flags);
            }
            self.drop_leavers();
        }
    }

    /// Waits for something to happen. `None` when waiting itself is impossible.
    fn poll(&self) -> Option<Vec<(Source, PollFlags)>> {
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        let mut add = |source: Source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(listener) = &self.listener {
            add(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (at, client) in self.clients.iter().enumerate() {
            let session = client
                .session
                .and_then(|session| self.sessions.get(&session));
            let listen = session.is_none_or(Session::takes_input) || !client.streams.stdin;
            add(Source::Client(at), client.socket(), client.interest(listen));
        }
        for (&id, session) in &self.sessions {
            let behind = |client: &Client| client.session == Some(id) && client.is_congested();
            let congested = self.clients.iter().any(behind);
            for (part, fd, flags) in session.interests(congested) {
                add(Source::Session(id, part), fd, flags);
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let flags = fds.iter().map(PollFd::revents);
        let ready = sources.into_iter().zip(flags);
        Some(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn handle(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Client(at) => {
                if flags.contains(PollFlags::OUT) {
                    self.clients[at].flush();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.hear(at);
                }
            }
            Source::Session(id, Part::Output(at)) => {
                self.carry(id, at);
            }
            Source::Session(id, Part::Input) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.flush_input();
                }
            }
            Source::Session(id, Part::End) => self.end(id),
        }
    }

    /// Takes new clients in that may do as this process' user does.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let own = rustix::process::geteuid();
        while let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) {
            let peer = socket_peercred(&socket);
            if peer.is_ok_and(|peer| peer.uid == own || peer.uid.is_root()) {
                self.clients.push(Client::new(socket));
            }
        }
    }

    fn hear(&mut self, at: usize) {
        let Some(ask) = self.clients[at].hear() else {
            return;
        };
        match ask {
            // A shim is born once.
            Ask::Start(_) => self.clients[at].leave(),
            Ask::Attach(streams) => self.attach(at, streams),
            Ask::Wait => self.attach(at, Streams::default()),
            Ask::Exec(order) => self.exec(at, &order),
            Ask::Signal(signal) => {
                let session = self.clients[at].session.unwrap_or(FIRST);
                let sent = self
                    .sessions
                    .get(&session)
                    .map(|session| session.signal(signal));
                let tell = match sent {
                    Some(Ok(())) => Tell::Signalled,
                    _ => refusal(&Error::NotRunning(self.dir.id().to_owned())),
                };
                self.clients[at].tell(&tell);
            }
            Ask::Stdin(bytes) => {
                if let Some(session) = self.input_of(at) {
                    session.write(bytes);
                }
            }
            Ask::StdinEnd => {
                if self.ends_input(at)
                    && let Some(session) = self.input_of(at)
                {
                    session.end_input();
                }
            }
            Ask::Join(endpoint) => self.change_networks(at, |network, dir, request, hostname| {
                network.enter(dir, request, hostname, *endpoint)
            }),
            Ask::Leave(name) => self.change_networks(at, |network, dir, request, hostname| {
                network.leave(dir, request, hostname, &name).map(drop)
            }),
            Ask::Resize(rows, columns) => {
                let session = self.clients[at].session.unwrap_or(FIRST);
                if let Some(session) = self.sessions.get(&session) {
                    session.resize(rows, columns);
                }
            }
        }
    }

    /// Changes the container's networks, and tells the client how that went.
    fn change_networks(
        &mut self,
        at: usize,
        change: impl FnOnce(&mut Network, &Dir, &Request, &str) -> Result<(), Error>,
    ) {
        let id = self.dir.id().to_owned();
        let request = &self.record.request;
        let changed = match &mut self.network {
            Some(network) => change(network, &self.dir, request, &self.hostname),
            None => Err(Error::NotRunning(id)),
        };
        if let Some(network) = &self.network {
            self.state.networks = network.places().to_vec();
        }
        let written = self.dir.write_state(&self.state).map_err(Error::from);
        let tell = match changed.and(written) {
            Ok(()) => Tell::Done,
            Err(error) => refusal(&error),
        };
        self.clients[at].tell(&tell);
    }

    /// The program that a client may write to.
    fn input_of(&mut self, at: usize) -> Option<&mut Session> {
        let client = self.clients.get(at)?;
        let session = client.session.filter(|_| client.streams.stdin)?;
        self.sessions.get_mut(&session)
    }

    /// Whether the end of a client's input is the end of its program's: always
    /// for an exec, for the container only where it was asked for.
    fn ends_input(&self, at: usize) -> bool {
        self.record.request.stdin_once || self.clients[at].session != Some(FIRST)
    }

    fn attach(&mut self, at: usize, streams: Streams) {
        let client = &mut self.clients[at];
        client.session = Some(FIRST);
        client.streams = streams;
        if !self.sessions.contains_key(&FIRST) {
            client.tell(&Tell::Exited(Exited {
                code: self.state.exit_code,
            }));
        }
    }

    fn exec(&mut self, at: usize, order: &ExecOrder) {
        let Some(first) = self.sessions.get(&FIRST) else {
            let error = Error::NotRunning(self.dir.id().to_owned());
            return self.clients[at].tell(&refusal(&error));
        };
        let spec = exec::spec(&self.record.request, order, self.dir.id());
        let wiring = Wiring {
            terminal: order.tty,
            stdin: order.attach.stdin,
        };
        let pid = first.pid();
        let started = spec.and_then(|spec| {
            Ok(Session::start(wiring, |stdio| {
                sandbox::enter(pid, &spec, stdio)
            })?)
        });
        match started {
            Ok(session) => {
                let id = self.next_session;
                self.next_session += 1;
                self.note_exec(id, order);
                self.clients[at].session = Some(id);
                self.clients[at].streams = order.attach;
                self.clients[at].tell(&Tell::Started(session.warnings()));
                self.sessions.insert(id, session);
            }
            Err(error) => self.clients[at].tell(&refusal(&error)),
        }
    }

    fn note_exec(&mut self, session: u64, order: &ExecOrder) {
        let id = names::new_id();
        let command = order.argv.join(" ");
        let more = [("execID", id.as_str())];
        self.note(&format!("exec_create: {command}"), &more);
        self.note(&format!("exec_start: {command}"), &more);
        self.exec_ids.insert(session, id);
    }

    /// Carries one piece of output to the log and the clients; whether there was one.
    fn carry(&mut self, id: u64, output: usize) -> bool {
        let Some((stream, bytes)) = self.sessions.get_mut(&id).and_then(|s| s.read(output)) else {
            return false;
        };
        if id == FIRST {
            self.log.write(stream, &bytes);
        }
        self.pass_on(id, stream, &bytes);
        true
    }

    fn pass_on(&mut self, id: u64, stream: Stream, bytes: &[u8]) {
        for client in &mut self.clients {
            if client.session == Some(id) {
                client.output(stream, bytes);
            }
        }
    }

    /// A program ended: its last output goes out, then its code.
    fn end(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (exit, out_of_memory) = session.wait();
        // What is in the pipes is all there will be. After an exec others may
        // still hold them; what they write later belongs to nobody.
        while self.carry(id, 0) {}
        while self.carry(id, 1) {}
        self.sessions.remove(&id);
        if id == FIRST {
            self.close(exit.code(), out_of_memory);
        } else if let Some(exec) = self.exec_ids.remove(&id) {
            let code = exit.code().to_string();
            self.note("exec_die", &[("execID", &exec), ("exitCode", &code)]);
        }
        let told = Tell::Exited(Exited { code: exit.code() });
        for client in &mut self.clients {
            if client.session == Some(id) {
                client.tell(&told);
            }
        }
    }

    /// Writes the end down and gives everything back, before anybody hears of it.
    fn close(&mut self, code: i32, out_of_memory: bool) {
        self.log.finish();
        self.network = None;
        self.state = self.state.clone().exited(code, out_of_memory, now());
        self.note_end(code, out_of_memory);
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

    /// Notes something in the log of events.
    fn note(&self, action: &str, more: &[(&str, &str)]) {
        events::note_of(&self.paths, &self.dir, &self.record.request, action, more);
    }

    fn note_start(&self, attached: bool) {
        if attached {
            self.note("attach", &[]);
        }
        self.note("start", &[]);
    }

    fn note_end(&self, code: i32, out_of_memory: bool) {
        if out_of_memory {
            self.note("oom", &[]);
        }
        let began = self.state.started_at.unwrap_or_default();
        let seconds = now().saturating_sub(began) / 1_000_000_000;
        let (code, seconds) = (code.to_string(), seconds.to_string());
        self.note("die", &[("exitCode", &code), ("execDuration", &seconds)]);
    }

    fn drop_leavers(&mut self) {
        while let Some(at) = self.clients.iter().position(Client::is_gone) {
            if self.ends_input(at)
                && let Some(session) = self.input_of(at)
            {
                session.end_input();
            }
            self.clients.swap_remove(at);
        }
    }
}
