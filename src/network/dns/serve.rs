//! The loop that takes questions and carries those that go elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::resolve::{Outcome, Resolver};
use super::{PORT, answer, stream};

/// Longest datagram.
const DATAGRAM_LIMIT: usize = 64 * 1024;
/// Questions that wait for others' answers; more are dropped, and asked again by their clients.
const MOST_PENDING: usize = 256;
/// How long a server may take until the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many servers are asked, the same one again where there are fewer.
const ATTEMPTS: usize = 3;
/// How many datagrams are taken before others have their turn.
const A_TURN: usize = 64;

/// Everything the thread works on.
pub(super) struct Server {
    datagrams: UdpSocket,
    streams: TcpListener,
    stop: OwnedFd,
    resolver: Arc<Resolver>,
    pending: Vec<Pending>,
    /// Connections that are served on threads of their own.
    connections: Arc<AtomicUsize>,
}

/// A question that was passed on.
struct Pending {
    socket: UdpSocket,
    client: SocketAddr,
    query: Vec<u8>,
    attempt: usize,
    deadline: Instant,
}

impl Server {
    pub(super) fn new(
        datagrams: UdpSocket,
        streams: TcpListener,
        stop: OwnedFd,
        resolver: Arc<Resolver>,
    ) -> Self {
        Self {
            datagrams,
            streams,
            stop,
            resolver,
            pending: Vec::new(),
            connections: Arc::default(),
        }
    }

    /// Serves until it is stopped.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_LIMIT];
        loop {
            let Some(ready) = self.wait() else { return };
            if ready[0] {
                return;
            }
            if ready[1] {
                self.take(&mut buffer);
            }
            if ready[2] {
                self.accept();
            }
            // From the end, as those that are answered go.
            for at in (0..self.pending.len()).rev() {
                if ready.get(at + 3) == Some(&true) {
                    self.answered(at, &mut buffer);
                }
            }
            self.ask_others();
        }
    }

    /// Waits; tells of each descriptor whether it is ready. `None` when waiting is impossible.
    fn wait(&self) -> Option<Vec<bool>> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.datagrams.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.streams.as_fd(), PollFlags::IN),
        ];
        fds.extend(
            self.pending
                .iter()
                .map(|one| PollFd::from_borrowed_fd(one.socket.as_fd(), PollFlags::IN)),
        );
        let first = self.pending.iter().map(|one| one.deadline).min();
        let timeout = first.and_then(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left).ok()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Some(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => Some(vec![false; fds.len()]),
            Err(_) => None,
        }
    }

    fn take(&mut self, buffer: &mut [u8]) {
        for _ in 0..A_TURN {
            let Ok((length, client)) = self.datagrams.recv_from(buffer) else {
                return;
            };
            let query = &buffer[..length];
            match self.resolver.resolve(query) {
                Outcome::Answer(answer) => self.send(&answer::fit(answer, query), client),
                Outcome::PassOn => self.pass_on(query.to_vec(), client, 0),
                Outcome::Ignore => {}
            }
        }
    }

    fn send(&self, answer: &[u8], client: SocketAddr) {
        // A client that is gone wants no answer.
        drop(self.datagrams.send_to(answer, client));
    }

    /// Asks the next server; after the last one the client hears of the failure.
    fn pass_on(&mut self, query: Vec<u8>, client: SocketAddr, attempt: usize) {
        let servers = self.resolver.upstream();
        if self.pending.len() >= MOST_PENDING {
            return;
        }
        for attempt in attempt..ATTEMPTS {
            let server = servers[attempt % servers.len()];
            if let Ok(socket) = question(server, &query) {
                self.pending.push(Pending {
                    socket,
                    client,
                    query,
                    attempt,
                    deadline: Instant::now() + PATIENCE,
                });
                return;
            }
        }
        if let Some(answer) = answer::failure(&query) {
            self.send(&answer, client);
        }
    }

    fn answered(&mut self, at: usize, buffer: &mut [u8]) {
        let one = &self.pending[at];
        match one.socket.recv(buffer) {
            // The first two bytes say which question it answers.
            Ok(length) if length >= 2 && buffer[..2] == one.query[..2] => {
                drop(self.datagrams.send_to(&buffer[..length], one.client));
                self.pending.swap_remove(at);
            }
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            // Nobody listens there: the next one is asked at once.
            Err(_) => self.pending[at].deadline = Instant::now(),
        }
    }

    fn ask_others(&mut self) {
        let now = Instant::now();
        let is_late = |one: &Pending| one.deadline <= now;
        for at in (0..self.pending.len()).rev() {
            if is_late(&self.pending[at]) {
                let one = self.pending.swap_remove(at);
                self.pass_on(one.query, one.client, one.attempt + 1);
            }
        }
    }

    fn accept(&self) {
        while let Ok((connection, _)) = self.streams.accept() {
            let serving = Arc::clone(&self.connections);
            if serving.fetch_add(1, Ordering::Relaxed) >= stream::MOST_AT_ONCE {
                serving.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let resolver = Arc::clone(&self.resolver);
            let spawned = std::thread::Builder::new()
                .name("names".to_owned())
                .stack_size(super::STACK_BYTES)
                .spawn(move || {
                    // A connection that breaks is its client's to make again.
                    drop(stream::serve(connection, &resolver));
                    serving.fetch_sub(1, Ordering::Relaxed);
                });
            if spawned.is_err() {
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sends a question to a server, from a port of its own.
fn question(server: IpAddr, query: &[u8]) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect((server, PORT))?;
    socket.send(query)?;
    Ok(socket)
}
