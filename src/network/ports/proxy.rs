//! The loop that carries connections and datagrams.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::listen::{Bound, Listener};
use super::relay::{Relay, Side};

/// Bounds on what the outside can make us hold.
const MAX_FLOWS: usize = 4096;
const UDP_IDLE: Duration = Duration::from_secs(90);

/// Descriptors that are left to the rest of the process.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Bytes that one call moves; also the longest datagram.
const SCRATCH_BYTES: usize = 64 * 1024;
/// How much one socket is served before others have their turn.
const ACCEPTS_A_TURN: usize = 32;
const DATAGRAMS_A_TURN: usize = 64;
/// How often idle flows are looked for, and refused listeners tried again.
const TICK: Duration = Duration::from_secs(5);

/// Event tokens: the stop signal, listeners from 1 on, and two for each flow.
const STOP: u64 = 0;
const FIRST_FLOW: u64 = 1 << 20;

/// Everything the thread works on.
pub(super) struct Proxy {
    epoll: OwnedFd,
    container: Arc<AtomicU32>,
    listeners: Vec<Listener>,
    flows: HashMap<u64, Flow>,
    next_flow: u64,
    pub(super) max_flows: usize,
    /// UDP flows by listener and client.
    sessions: HashMap<(usize, SocketAddr), u64>,
    is_accepting: bool,
    scratch: Vec<u8>,
}

enum Flow {
    Tcp {
        relay: Relay,
        /// What epoll was told, by [`Side`].
        client: EventFlags,
        container: EventFlags,
    },
    Udp {
        listener: usize,
        client: SocketAddr,
        socket: UdpSocket,
        last_used: Instant,
    },
}

impl Proxy {
    /// Gets everything ready; the descriptor stops [`Proxy::run`] when it is written to.
    pub(super) fn new(
        listeners: Vec<Listener>,
        container: Arc<AtomicU32>,
    ) -> io::Result<(Self, OwnedFd)> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let descriptors = limit.current.unwrap_or(u64::MAX);
        let flows = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2;
        let mut proxy = Self {
            epoll,
            container,
            listeners,
            flows: HashMap::new(),
            next_flow: FIRST_FLOW,
            max_flows: usize::try_from(flows).map_or(MAX_FLOWS, |flows| flows.clamp(1, MAX_FLOWS)),
            sessions: HashMap::new(),
            is_accepting: false,
            scratch: vec![0; SCRATCH_BYTES],
        };
        for (index, listener) in proxy.listeners.iter().enumerate() {
            if let Bound::Udp(socket) = &listener.socket {
                epoll::add(&proxy.epoll, socket, token_of(index), EventFlags::IN)?;
            }
        }
        proxy.resume()?;
        Ok((proxy, stop))
    }

    fn container(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.container.load(Ordering::Relaxed))
    }

    /// Carries until stopped. Errors end the flow that has them, and no other.
    pub(super) fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        let mut last_tick = Instant::now();
        loop {
            events.clear();
            // Without sessions and with open doors, nothing happens by itself.
            let needs_tick = !self.sessions.is_empty() || !self.is_accepting;
            let timeout = needs_tick.then(|| Timespec::try_from(TICK).ok()).flatten();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                let token = event.data.u64();
                if token == STOP {
                    return;
                }
                if token < FIRST_FLOW {
                    self.serve_listener(token);
                } else {
                    self.serve_flow(token / 2);
                }
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                self.drop_idle();
                self.resume().ok();
            }
        }
    }

    fn serve_listener(&mut self, token: u64) {
        let Some(index) = index_of(token) else {
            return;
        };
        match self.listeners.get(index).map(|listener| &listener.socket) {
            Some(Bound::Tcp(_)) => {
                for _ in 0..ACCEPTS_A_TURN {
                    if !self.accept(index) {
                        break;
                    }
                }
            }
            Some(Bound::Udp(_)) => {
                for _ in 0..DATAGRAMS_A_TURN {
                    if !self.take_datagram(index) {
                        break;
                    }
                }
            }
            Some(Bound::Held(_)) | None => {}
        }
    }

    /// Takes a connection in; whether there may be more.
    fn accept(&mut self, index: usize) -> bool {
        if self.flows.len() >= self.max_flows {
            self.pause();
            return false;
        }
        let Bound::Tcp(listener) = &self.listeners[index].socket else {
            return false;
        };
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return false,
            // It went away while it waited.
            Err(err) if err.kind() == io::ErrorKind::ConnectionAborted => return true,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => {
                // Out of descriptors or memory: asking again at once would spin.
                self.pause();
                return false;
            }
        };
        let target = SocketAddrV4::new(
            self.container(),
            self.listeners[index].forward.container_port,
        );
        // A container that cannot be reached is a connection that is closed.
        if let Ok(container) = connect(target)
            && prepare(&client).is_ok()
        {
            let id = self.add_flow(Flow::Tcp {
                relay: Relay::new(client, container),
                client: EventFlags::empty(),
                container: EventFlags::empty(),
            });
            self.serve_flow(id);
        }
        true
    }

    /// Passes a datagram on; whether there may be more.
    fn take_datagram(&mut self, index: usize) -> bool {
        let Bound::Udp(socket) = &self.listeners[index].socket else {
            return false;
        };
        let (length, client) = match socket.recv_from(&mut self.scratch) {
            Ok(received) => received,
            Err(err) => return err.kind() == io::ErrorKind::Interrupted,
        };
        let id = match self.sessions.get(&(index, client)) {
            Some(id) => *id,
            // Datagrams may be lost; this one is.
            None if self.flows.len() >= self.max_flows => return true,
            None => match self.add_session(index, client) {
                Ok(id) => id,
                Err(_) => return true,
            },
        };
        if let Some(Flow::Udp {
            socket, last_used, ..
        }) = self.flows.get_mut(&id)
        {
            *last_used = Instant::now();
            // An error tells of an earlier datagram that nobody took.
            socket.send(&self.scratch[..length]).ok();
        }
        true
    }

    fn add_session(&mut self, index: usize, client: SocketAddr) -> io::Result<u64> {
        let target = SocketAddrV4::new(
            self.container(),
            self.listeners[index].forward.container_port,
        );
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(target)?;
        let token = EventData::new_u64(self.next_flow * 2);
        epoll::add(&self.epoll, &socket, token, EventFlags::IN)?;
        let id = self.add_flow(Flow::Udp {
            listener: index,
            client,
            socket,
            last_used: Instant::now(),
        });
        self.sessions.insert((index, client), id);
        Ok(id)
    }

    fn add_flow(&mut self, flow: Flow) -> u64 {
        let id = self.next_flow;
        self.next_flow += 1;
        self.flows.insert(id, flow);
        id
    }

    fn serve_flow(&mut self, id: u64) {
        // An event may be older than the end of its flow.
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        match flow {
            Flow::Tcp {
                relay,
                client,
                container,
            } => {
                if relay.carry(&mut self.scratch).unwrap_or(true)
                    || watch(&self.epoll, relay, Side::Client, client, id * 2).is_err()
                    || watch(&self.epoll, relay, Side::Container, container, id * 2 + 1).is_err()
                {
                    self.flows.remove(&id);
                    if !self.is_accepting {
                        self.resume().ok();
                    }
                }
            }
            Flow::Udp {
                listener,
                client,
                socket,
                last_used,
            } => {
                let Bound::Udp(outside) = &self.listeners[*listener].socket else {
                    return;
                };
                *last_used = Instant::now();
                for _ in 0..DATAGRAMS_A_TURN {
                    match socket.recv(&mut self.scratch) {
                        Ok(length) => {
                            outside.send_to(&self.scratch[..length], *client).ok();
                        }
                        Err(_) => break,
                    }
                }
            }
        }
    }

    fn drop_idle(&mut self) {
        let sessions = &mut self.sessions;
        self.flows.retain(|_, flow| match flow {
            Flow::Udp {
                listener,
                client,
                last_used,
                ..
            } if last_used.elapsed() >= UDP_IDLE => {
                sessions.remove(&(*listener, *client));
                false
            }
            _ => true,
        });
    }

    /// Leaves new connections to the kernel's queue.
    fn pause(&mut self) {
        for (_, listener) in self.tcp_listeners() {
            epoll::delete(&self.epoll, listener).ok();
        }
        self.is_accepting = false;
    }

    /// Takes new connections in again, if there is room.
    fn resume(&mut self) -> io::Result<()> {
        if self.is_accepting || self.flows.len() >= self.max_flows {
            return Ok(());
        }
        for (index, listener) in self.tcp_listeners() {
            match epoll::add(&self.epoll, listener, token_of(index), EventFlags::IN) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(err) => return Err(err.into()),
            }
        }
        self.is_accepting = true;
        Ok(())
    }

    fn tcp_listeners(&self) -> impl Iterator<Item = (usize, &TcpListener)> {
        let sockets = self.listeners.iter().map(|listener| &listener.socket);
        sockets
            .enumerate()
            .filter_map(|(index, socket)| match socket {
                Bound::Tcp(listener) => Some((index, listener)),
                Bound::Udp(_) | Bound::Held(_) => None,
            })
    }
}

/// Tells epoll what is awaited of one side, if that has changed. A side of which
/// nothing is awaited is taken out: epoll would report its end for ever.
fn watch(
    epoll: &OwnedFd,
    relay: &Relay,
    side: Side,
    told: &mut EventFlags,
    token: u64,
) -> io::Result<()> {
    let wanted = relay.interest(side);
    if wanted == *told {
        return Ok(());
    }
    let stream = relay.stream(side).as_fd();
    let data = EventData::new_u64(token);
    if wanted.is_empty() {
        epoll::delete(epoll, stream)?;
    } else if told.is_empty() {
        epoll::add(epoll, stream, data, wanted)?;
    } else {
        epoll::modify(epoll, stream, data, wanted)?;
    }
    *told = wanted;
    Ok(())
}

/// Begins to connect.
fn connect(target: SocketAddrV4) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(err) => return Err(err.into()),
    }
    let stream = TcpStream::from(socket);
    prepare(&stream)?;
    Ok(stream)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    // A peer that vanished frees its place some day.
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

fn token_of(index: usize) -> EventData {
    EventData::new_u64(u64::try_from(index).map_or(STOP, |index| index + 1))
}

fn index_of(token: u64) -> Option<usize> {
    usize::try_from(token).ok()?.checked_sub(1)
}
