//! Accepting connections, and the life of each.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustls::StreamOwned;

use super::connection::{Connection, Stream};
use super::head::{self, NoHead};
use super::request::{Method, Request};
use super::response::{self, Content, Response, To};
use super::table::Table;
use super::tls::Tls;

/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_mins(2);
/// How long those that are being answered have when the server stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// Stack of a connection's thread, in bytes.
const STACK: usize = 1 << 20;

/// Answers requests, many at once.
pub trait Handler: Send + Sync {
    /// The answer to a request. What it leaves of the body is thrown away.
    fn answer(&self, request: &mut Request<'_>) -> Response;
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who asked.
    pub peer: SocketAddr,
    /// The method.
    pub method: String,
    /// The path, decoded; control characters are `?`.
    pub path: String,
    /// The status code of the answer.
    pub status: u16,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the answer's content that went out.
    pub sent: u64,
    /// Whether the answer went out whole.
    pub whole: bool,
    /// How long it took.
    pub took: Duration,
    /// What the handler said of it, for the log alone.
    pub note: Option<String>,
}

/// Hears of every request that was answered.
pub type Observer = dyn Fn(Access) + Send + Sync;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    shared: Arc<Shared>,
}

struct Shared {
    table: Table,
    handler: Box<dyn Handler>,
    observer: Box<Observer>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens at an address; port 0 is any that is free.
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        // A peer may be gone again before it is accepted: that must not block.
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// A server on a listener of [`Server::bind`]; with `tls`, encrypted.
    pub fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        handler: Box<dyn Handler>,
        observer: Box<Observer>,
    ) -> io::Result<Self> {
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            tls,
            shared: Arc::new(Shared {
                table: Table::default(),
                handler,
                observer,
            }),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` can be read. Then idle connections end, and the
    /// others when they are answered or ten seconds have passed.
    pub fn run(&self, stop: BorrowedFd<'_>) -> io::Result<()> {
        /// Pause when the system has no room for another connection.
        const BREATH: Duration = Duration::from_millis(50);
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(stop, PollFlags::IN),
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
            if !fds[0].revents().is_empty() {
                break;
            }
            if fds[1].revents().is_empty() {
                continue;
            }
            match self.listener.accept() {
                Ok((socket, peer)) => self.begin(socket, peer),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => std::thread::sleep(BREATH),
            }
        }
        self.shared.table.stop(FAREWELL);
        Ok(())
    }

    fn begin(&self, socket: TcpStream, peer: SocketAddr) {
        if socket.set_nonblocking(false).is_err() {
            return;
        }
        let Some(id) = self.shared.table.admit(&socket) else {
            if self.tls.is_none() {
                let _gone = turn_away(&socket);
            }
            return;
        };
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        let thread = std::thread::Builder::new().stack_size(STACK);
        let started = thread.spawn(move || {
            let seat = Seat { shared, id };
            if let Some(mut connection) = connect(socket, tls.as_ref()) {
                seat.shared.serve(&mut connection, peer, tls.is_some(), id);
            }
        });
        if started.is_err() {
            self.shared.table.leave(id);
        }
    }
}

/// A place in the table, which is free again when its thread ends, by a panic too.
struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.table.leave(self.id);
    }
}

fn turn_away(mut socket: &TcpStream) -> io::Result<()> {
    socket.set_write_timeout(Some(Duration::from_millis(100)))?;
    socket.write_all(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
}

fn connect(socket: TcpStream, tls: Option<&Tls>) -> Option<Connection> {
    let stream = match tls {
        // The handshake happens with the first byte that is read, in the time for a head.
        Some(tls) => Stream::Tls(Box::new(StreamOwned::new(tls.accept().ok()?, socket))),
        None => Stream::Plain(socket),
    };
    Connection::new(stream).ok()
}

impl Shared {
    fn serve(&self, connection: &mut Connection, peer: SocketAddr, is_tls: bool, id: u64) {
        while self.table.rest(id) {
            let head = match head::read(connection, IDLE) {
                Ok(head) => head,
                Err(NoHead::Over) => return,
                Err(NoHead::Refused(status, why)) => {
                    refuse(connection, status, why);
                    return;
                }
            };
            self.table.work(id);
            let began = Instant::now();
            let (method, keep_alive) = (head.method.clone(), head.keep_alive);
            let is_modern = head.is_modern;
            let Some(mut request) = Request::new(head, connection, peer, is_tls) else {
                refuse(connection, 400, "the request names no path");
                return;
            };
            let mut response = self.handler.answer(&mut request);
            let note = response.note.take();
            let path = request.path.replace(|c: char| c.is_control(), "?");
            let received = request.body().taken();
            // Short leftovers are read before the answer, as the peer may be
            // writing them still; long ones cost the connection.
            let reusable = request.body().drain();
            let status = response.status;
            let to = To {
                method: &method,
                keep_alive: keep_alive && reusable,
                is_modern,
            };
            let written = response::write(&mut connection.stream, response, to);
            (self.observer)(Access {
                peer,
                method: method.name().to_owned(),
                path,
                status,
                received,
                sent: written.bytes,
                whole: written.whole,
                took: began.elapsed(),
                note,
            });
            if !written.whole {
                return;
            }
            if !written.keep_alive {
                connection.linger();
                return;
            }
        }
    }
}

fn refuse(connection: &mut Connection, status: u16, why: &str) {
    let response = Response::new(status)
        .with("Content-Type", "text/plain; charset=utf-8")
        .carrying(Content::Bytes(format!("{why}\n").into_bytes()));
    let to = To {
        method: &Method::Get,
        keep_alive: false,
        is_modern: true,
    };
    if response::write(&mut connection.stream, response, to).whole {
        connection.linger();
    }
}
