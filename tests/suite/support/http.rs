//! A small HTTP server whose answers a test writes, wrong ones too.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Largest body of a request that is read.
const BODY_LIMIT: u64 = 256 << 20;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The headers.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The path alone.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header, its name in any letter case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let same = |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(same)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a name in the query.
    pub(crate) fn query(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        form(query)
            .into_iter()
            .filter_map(|(own, value)| (own == name).then_some(value))
            .collect()
    }

    /// User and password of `Authorization: Basic`.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        use base64::Engine as _;
        let text = self.header("authorization")?.strip_prefix("Basic ")?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

/// The pairs of a form or a query.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let bytes = text.replace('+', " ").into_bytes();
        let mut out = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            let hex = tail
                .get(..2)
                .and_then(|pair| std::str::from_utf8(pair).ok());
            match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
                Some(byte) if *first == b'%' => {
                    out.push(byte);
                    rest = &tail[2..];
                }
                _ => {
                    out.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Writes an answer by itself.
type Script = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// What is answered.
pub(crate) enum Answer {
    /// An answer as the protocol has it.
    Whole {
        /// The status.
        status: u16,
        /// Headers; `Content-Length` is added where it is not among them.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Whatever this writes; the connection is closed after it.
    Raw(Script),
}

impl Answer {
    /// A status without headers and body.
    pub(crate) fn new(status: u16) -> Self {
        Self::Whole {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }

    /// The same with a body.
    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Self::Whole { body, .. } = &mut self {
            *body = bytes.into();
        }
        self
    }

    /// An answer that a function writes, head included.
    pub(crate) fn raw(
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self::Raw(Box::new(write))
    }
}

/// A connection, encrypted or not.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A server; it ends, with all its connections, with this value.
#[derive(Debug)]
pub(crate) struct HttpServer {
    address: SocketAddr,
    tls: bool,
    ends: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// A server without TLS that answers as `handler` says.
    pub(crate) fn plain(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(handler))
    }

    /// One with TLS, with this certificate and its key, PEM.
    pub(crate) fn tls(
        certificate: &Path,
        key: &Path,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate)
            .expect("the certificate was made")
            .collect::<Result<Vec<_>, _>>()
            .expect("it is PEM");
        let key = PrivateKeyDer::from_pem_file(key).expect("the key was made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they belong together");
        Self::start(Some(Arc::new(config)), Arc::new(handler))
    }

    fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: Arc<dyn Fn(&Asked) -> Answer + Send + Sync>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let ends = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (own_ends, own_streams) = (Arc::clone(&ends), Arc::clone(&streams));
        let is_tls = tls.is_some();
        let thread = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for stream in listener.incoming().flatten() {
                if own_ends.load(Ordering::SeqCst) {
                    break;
                }
                // Small answers go at once, as real servers have it.
                stream.set_nodelay(true).expect("it is TCP");
                let copy = || stream.try_clone().expect("descriptors are left");
                own_streams.lock().expect("nobody panics").push(copy());
                let own = copy();
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                workers.push(std::thread::spawn(move || {
                    // A client may go away at any moment.
                    let _gone = match tls {
                        None => serve(stream, &*handler),
                        Some(config) => rustls::ServerConnection::new(config)
                            .map_err(io::Error::other)
                            .and_then(|connection| {
                                serve(rustls::StreamOwned::new(connection, stream), &*handler)
                            }),
                    };
                    // Copies of it are open still.
                    let _gone = own.shutdown(Shutdown::Both);
                }));
            }
            for worker in workers {
                // What a handler asserts is told by its own thread.
                let _told = worker.join();
            }
        });
        Self {
            address,
            tls: is_tls,
            ends,
            streams,
            thread: Some(thread),
        }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for stream in self.streams.lock().expect("nobody panics").drain(..) {
            // Most are closed already.
            let _closed = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _told = thread.join();
        }
    }
}

/// Answers one request after the other.
fn serve(stream: impl Stream, handler: &dyn Fn(&Asked) -> Answer) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader)? {
        let head_only = asked.method == "HEAD";
        let closes = asked.header("connection") == Some("close");
        let writer = reader.get_mut();
        match handler(&asked) {
            Answer::Raw(script) => {
                script(writer)?;
                return writer.flush();
            }
            Answer::Whole {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} X\r\n");
                let mut sized = false;
                for (name, value) in &headers {
                    sized |= name.eq_ignore_ascii_case("content-length");
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if !sized {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                writer.write_all(head.as_bytes())?;
                if !head_only {
                    writer.write_all(&body)?;
                }
                writer.flush()?;
            }
        }
        if closes {
            break;
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<impl Stream>) -> io::Result<Option<Asked>> {
    // Who tries TLS on a server without it is not waited for: no line ends there.
    const HANDSHAKE: u8 = 22;
    if matches!(reader.fill_buf()?.first(), None | Some(&HANDSHAKE)) {
        return Ok(None);
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        asked
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    if asked.header("expect").is_some() {
        let writer = reader.get_mut();
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        writer.flush()?;
    }
    if asked.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            reader.by_ref().take(size).read_to_end(&mut asked.body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = asked.header("content-length") {
        let length: u64 = length.parse().map_err(io::Error::other)?;
        let mut body = Vec::new();
        let length = length.min(BODY_LIMIT);
        let got = reader.by_ref().take(length).read_to_end(&mut body)?;
        if (got as u64) < length {
            return Ok(None);
        }
        asked.body = body;
    }
    Ok(Some(asked))
}
