//! Connections passed on to a server: counted, slowed down, and cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// After how many bytes a connection breaks, from the client and to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes from the client.
    pub(crate) up: u64,
    /// Bytes to the client.
    pub(crate) down: u64,
}

/// Decides about each new connection.
type Cuts = Box<dyn FnMut() -> Option<Cut> + Send>;

#[derive(Default)]
struct Shared {
    up: AtomicU64,
    down: AtomicU64,
    cut: AtomicU64,
    /// Bytes a second in each direction of each connection; 0 for as fast as it goes.
    pace: AtomicU64,
    ends: AtomicBool,
    cuts: Mutex<Option<Cuts>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// The relay; it ends, with all its connections, with this value.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What went through since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes from clients.
    pub(crate) up: u64,
    /// Bytes to clients.
    pub(crate) down: u64,
    /// Connections that were cut.
    pub(crate) cut: u64,
}

impl Relay {
    /// A relay to a server at `host` (an address with a port).
    pub(crate) fn to(host: &str) -> Self {
        let target: SocketAddr = host.parse().expect("tests name addresses");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for client in listener.incoming().flatten() {
                if own.ends.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(server) = TcpStream::connect(target) else {
                    continue;
                };
                workers.extend(join(&client, &server, &own));
            }
            for worker in workers {
                worker.join().expect("passing on does not fail");
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Asks `cuts` about each new connection.
    pub(crate) fn cut(&self, cuts: impl FnMut() -> Option<Cut> + Send + 'static) {
        *self.shared.cuts.lock().expect("nobody panics") = Some(Box::new(cuts));
    }

    /// Cuts no new connection any more.
    pub(crate) fn cut_nothing(&self) {
        *self.shared.cuts.lock().expect("nobody panics") = None;
    }

    /// How many bytes a second pass in each direction of a connection; 0 for all.
    pub(crate) fn pace(&self, bytes_per_second: u64) {
        self.shared.pace.store(bytes_per_second, Ordering::SeqCst);
    }

    /// What went through since the last time.
    pub(crate) fn take_traffic(&self) -> Traffic {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::SeqCst);
        Traffic {
            up: take(&self.shared.up),
            down: take(&self.shared.down),
            cut: take(&self.shared.cut),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        end(self.address, &self.shared, self.thread.take());
    }
}

/// Passes on in both directions.
fn join(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let cut = {
        let mut cuts = shared.cuts.lock().expect("nobody panics");
        cuts.as_mut().and_then(|cuts| cuts())
    };
    let copy = |stream: &TcpStream| stream.try_clone().expect("descriptors are left");
    for stream in [client, server] {
        stream.set_nodelay(true).expect("it is TCP");
        let mut streams = shared.streams.lock().expect("nobody panics");
        streams.push(copy(stream));
    }
    let ways = [
        (copy(client), copy(server), cut.map(|cut| cut.up), true),
        (copy(server), copy(client), cut.map(|cut| cut.down), false),
    ];
    let spawn = |(from, to, left, up)| {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pass(from, to, left, up, &shared))
    };
    ways.into_iter().map(spawn).collect()
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut left: Option<u64>, up: bool, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    let counter = if up { &shared.up } else { &shared.down };
    loop {
        let pace = shared.pace.load(Ordering::SeqCst);
        // A hundred pieces a second.
        let most = match usize::try_from(pace / 100) {
            Ok(0) | Err(_) => buffer.len(),
            Ok(piece) => piece.min(buffer.len()),
        };
        let count = match from.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let mut passed = count;
        if let Some(left) = &mut left {
            passed = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= passed as u64;
        }
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        counter.fetch_add(passed as u64, Ordering::SeqCst);
        if passed < count || left == Some(0) {
            shared.cut.fetch_add(1, Ordering::SeqCst);
            let _closed = from.shutdown(Shutdown::Both);
            break;
        }
        if pace > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // One side that goes takes the other with it; HTTP closes nothing by halves.
    let _closed = to.shutdown(Shutdown::Both);
    let _closed = from.shutdown(Shutdown::Both);
}

/// An HTTP proxy that leads every `CONNECT` to one server, whatever it names.
pub(crate) struct Tunnel {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// A proxy before a server at `host` (an address with a port).
    pub(crate) fn to(host: &str) -> Self {
        let target: SocketAddr = host.parse().expect("tests name addresses");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let (shared, heads) = (Arc::new(Shared::default()), Arc::default());
        let (own, own_heads) = (Arc::clone(&shared), Arc::clone(&heads));
        let thread = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for mut client in listener.incoming().flatten() {
                if own.ends.load(Ordering::SeqCst) {
                    break;
                }
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let heads: &Mutex<Vec<String>> = &own_heads;
                if head.is_empty() {
                    continue;
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                heads.lock().expect("nobody panics").push(head);
                let Ok(server) = TcpStream::connect(target) else {
                    continue;
                };
                // A client that goes now is gone.
                let _gone = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                workers.extend(join(&client, &server, &own));
            }
            for worker in workers {
                worker.join().expect("passing on does not fail");
            }
        });
        Self {
            address,
            heads,
            shared,
            thread: Some(thread),
        }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// What clients asked for since the last time.
    pub(crate) fn take_heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().expect("nobody panics"))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        end(self.address, &self.shared, self.thread.take());
    }
}

/// Ends a thread that accepts connections, and all of them.
fn end(address: SocketAddr, shared: &Shared, thread: Option<JoinHandle<()>>) {
    shared.ends.store(true, Ordering::SeqCst);
    drop(TcpStream::connect(address));
    for stream in shared.streams.lock().expect("nobody panics").drain(..) {
        // Most are closed already.
        let _closed = stream.shutdown(Shutdown::Both);
    }
    if let Some(thread) = thread {
        thread.join().expect("passing on does not fail");
    }
}
