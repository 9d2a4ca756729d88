//! The loop: what a container's programs, clients and clocks bring, one thing
//! after another.

use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};

use super::super::dir::Dir;
use super::super::logs::Stream;
use super::super::protocol::{self, Ask, ExecOrder, Exited, Streams, Tell};
use super::super::record::Status;
use super::super::request::Request;
use super::super::{Error, exec};
use super::client::Client;
use super::network::Network;
use super::probe::Probe;
use super::refusal;
use super::run::{FIRST, Kept};
use super::session::{Part, Session, Wiring};
use crate::sandbox;
use crate::sys::process;

/// What a descriptor of the loop belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Client(usize),
    Session(u64, Part),
}

impl Kept {
    /// Serves until every program has ended and everybody was told.
    pub(super) fn serve(&mut self) {
        // There may be hundreds of these processes, and most of them only wait from here on.
        process::give_memory_back();
        while self.is_busy() {
            let Some(ready) = self.poll() else { return };
            for (source, flags) in ready {
                self.handle(source, flags);
            }
            self.drop_leavers();
            self.look_at_clocks();
        }
    }

    fn is_busy(&self) -> bool {
        !self.sessions.is_empty()
            || self.restart_at.is_some()
            || self.clients.iter().any(|client| !client.is_settled())
    }

    /// Does what is due by now.
    fn look_at_clocks(&mut self) {
        let now = Instant::now();
        if self.restart_at.is_some_and(|at| at <= now) {
            self.relaunch();
        }
        self.look_at_health(now);
    }

    /// When something is due next.
    fn next_deadline(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().map(Probe::deadline);
        let probe = probe.filter(|_| self.state.status == Status::Running);
        [self.restart_at, probe].into_iter().flatten().min()
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
        let left = self
            .next_deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
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
    pub(super) fn accept(&mut self) {
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

    pub(super) fn hear(&mut self, at: usize) {
        let Some(ask) = self.clients[at].hear() else {
            return;
        };
        match ask {
            // A shim is born once.
            Ask::Start(_) => self.clients[at].leave(),
            Ask::Attach(streams) => self.attach(at, streams),
            Ask::Wait => self.attach(at, Streams::default()),
            Ask::Exec(order) => self.exec(at, &order),
            Ask::ExecIn(name) => match protocol::take_order(&self.dir, &name) {
                Ok(order) => self.exec(at, &order),
                Err(_) => self.clients[at].leave(),
            },
            Ask::Signal(signal) => {
                let session = self.clients[at].session.unwrap_or(FIRST);
                let sent = self.signal(session, signal);
                self.answer(at, sent.map(|()| Vec::new()));
            }
            Ask::Stop(signal) => {
                let stopped = self.stop(signal);
                self.answer(at, stopped.map(|()| Vec::new()));
            }
            Ask::Pause => {
                let paused = self.pause();
                self.answer(at, paused.map(|()| Vec::new()));
            }
            Ask::Unpause => {
                let unpaused = self.unpause();
                self.answer(at, unpaused.map(|()| Vec::new()));
            }
            Ask::Update(changes) => {
                let updated = self.update(&changes);
                self.answer(at, updated);
            }
            Ask::Join(endpoint) => self.change_networks(at, |network, dir, request, hostname| {
                network.enter(dir, request, hostname, *endpoint)
            }),
            Ask::Leave(name) => self.change_networks(at, |network, dir, request, hostname| {
                network.leave(dir, request, hostname, &name).map(drop)
            }),
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
            self.state.ports = network.ports();
        }
        let written = self.dir.write_state(&self.state).map_err(Error::from);
        self.answer(at, changed.and(written).map(|()| Vec::new()));
    }

    fn answer(&mut self, at: usize, result: Result<Vec<String>, Error>) {
        let tell = match result {
            Ok(warnings) => Tell::Done(warnings),
            Err(error) => refusal(&error),
        };
        if let Some(client) = self.clients.get_mut(at) {
            client.tell(&tell);
        }
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
        if !self.sessions.contains_key(&FIRST) && self.restart_at.is_none() {
            client.tell(&Tell::Exited(Exited {
                code: self.state.exit_code,
            }));
        }
    }

    fn exec(&mut self, at: usize, order: &ExecOrder) {
        match self.start_further(order) {
            Ok(id) => {
                self.note_exec(id, order);
                let warnings = self.sessions.get(&id).map(Session::warnings);
                self.clients[at].session = Some(id);
                self.clients[at].streams = order.attach;
                self.clients[at].tell(&Tell::Started(warnings.unwrap_or_default()));
            }
            Err(error) => self.clients[at].tell(&refusal(&error)),
        }
    }

    /// Starts a further program; returns its session.
    pub(super) fn start_further(&mut self, order: &ExecOrder) -> Result<u64, Error> {
        let id = || self.dir.id().to_owned();
        let first = match (self.state.status, self.sessions.get(&FIRST)) {
            (Status::Paused, _) => return Err(Error::Paused(id())),
            (Status::Restarting, _) => return Err(Error::Restarting(id())),
            (_, first) => first.ok_or_else(|| Error::NotRunning(id()))?,
        };
        let late = self.late_group.is_some();
        let spec = exec::spec(&self.record.request, order, self.dir.id(), late)?;
        let wiring = Wiring {
            terminal: order.tty,
            stdin: order.attach.stdin,
        };
        let pid = first.pid();
        let runtime = self.order.runtime(&self.dir);
        let session = Session::start(wiring, |stdio| match &runtime {
            None => sandbox::enter(pid, &spec, stdio),
            Some(runtime) => sandbox::enter_outside(runtime, &spec, stdio),
        })?;
        let id = self.next_session;
        self.next_session += 1;
        self.sessions.insert(id, session);
        Ok(id)
    }

    /// Carries one piece of output to the log and the clients; whether there was one.
    pub(super) fn carry(&mut self, id: u64, output: usize) -> bool {
        let Some((stream, bytes)) = self.sessions.get_mut(&id).and_then(|s| s.read(output)) else {
            return false;
        };
        if id == FIRST {
            self.log.write(stream, &bytes);
        } else if let Some(probe) = &mut self.probe {
            probe.hear(id, &bytes);
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
