//! Downloads from servers that behave, and from servers that do not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Checksum, Error, Remote, Settings};
use super::*;
use crate::http::Url;
use crate::oci::Digest;

type Handler = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// A server on loopback; every connection gets one answer. Its thread ends with
/// the last connection after it was dropped.
struct Server {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(handler: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = read_head(&mut stream);
                if head.is_empty() {
                    break;
                }
                seen.lock().unwrap().push(head.clone());
                let handler = handler.clone();
                workers.push(std::thread::spawn(move || handler(&head, &mut stream)));
            }
            for worker in workers {
                worker.join().unwrap();
            }
        });
        Self {
            address,
            requests,
            thread: Some(thread),
        }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request ends the loop.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn answer(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    // A client that has enough closes early.
    drop(stream.write_all(head.as_bytes()));
    drop(stream.write_all(body));
}

/// Bytes, how to recognise them, and their date.
type Got = (Vec<u8>, Validators, Option<i64>);

fn settings() -> Settings {
    Settings {
        environment: BTreeMap::new(),
        limit_bytes: 1 << 20,
        idle: Duration::from_millis(300),
    }
}

fn fetch_with(
    settings: &Settings,
    secret: &(dyn Fn(&str) -> Option<Vec<u8>> + Sync),
    url: &Url,
    known: Option<&Validators>,
    expected: Option<&Checksum>,
) -> Result<Option<Got>, Error> {
    let remote = Remote {
        secret,
        ..Remote::new(settings)
    };
    let incoming = match remote.get(url, known)? {
        Answer::NotModified => return Ok(None),
        Answer::File(incoming) => *incoming,
    };
    let (validators, modified) = (incoming.validators.clone(), incoming.modified);
    let mut bytes = Vec::new();
    let downloaded = remote.download(incoming, expected, (&mut bytes, Path::new("-")))?;
    assert_eq!(downloaded.digest, Digest::of(&bytes));
    assert_eq!(downloaded.bytes, bytes.len() as u64);
    Ok(Some((bytes, validators, modified)))
}

fn fetch(url: &Url) -> Result<Vec<u8>, Error> {
    let found = fetch_with(&settings(), &|_| None, url, None, None)?;
    Ok(found.unwrap().0)
}

#[test]
fn a_file_is_downloaded_and_asked_for_by_its_validators() {
    let server = Server::start(|head, stream| {
        if head.contains("if-none-match: \"v1\"") {
            return answer(stream, "304 Not Modified", &[], b"");
        }
        let headers = [
            "ETag: \"v1\"",
            "Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT",
            "Date: Sun, 13 Sep 2020 12:26:50 GMT",
        ];
        answer(stream, "200 OK", &headers, b"text");
    });
    let url = server.url("/a");
    let none = |_: &str| None;
    let (bytes, validators, modified) = fetch_with(&settings(), &none, &url, None, None)
        .unwrap()
        .unwrap();
    assert_eq!(bytes, b"text");
    assert_eq!(modified, Some(1_600_000_000));
    // The file is ten seconds old, so the date alone does not tell versions apart.
    assert_eq!(validators.last_modified, None);
    assert_eq!(validators.etag.as_deref(), Some("\"v1\""));
    let again = fetch_with(&settings(), &none, &url, Some(&validators), None).unwrap();
    assert_eq!(again, None);
}

#[test]
fn errors_of_servers_are_told() {
    let server = Server::start(|head, stream| {
        let status = if head.starts_with("GET /304") {
            "304 Not Modified"
        } else {
            "404 Not Found"
        };
        answer(stream, status, &[], b"gone");
    });
    let err = fetch(&server.url("/a")).unwrap_err().to_string();
    assert!(err.ends_with("invalid response status 404"), "{err}");
    assert!(fetch(&server.url("/304")).is_err());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = Url::parse(&format!("http://u:secret@{closed}/x")).unwrap();
    let err = fetch(&url).unwrap_err();
    let source = std::error::Error::source(&err).unwrap().to_string();
    assert!(source.starts_with("cannot talk to"), "{source}");
    assert!(!err.to_string().contains("secret"));
}

#[test]
fn redirects_are_followed_and_bounded() {
    let server = Server::start(|head, stream| {
        let to = match head.split(' ').nth(1).unwrap() {
            "/1" => "Location: sub/2",
            "/sub/2" => "Location: /3?x",
            "/loop" => "Location: /loop",
            "/file" => "Location: file:///etc/passwd",
            "/nowhere" => "X: y",
            _ => return answer(stream, "200 OK", &[], b"end"),
        };
        answer(stream, "302 Found", &[to], b"");
    });
    assert_eq!(fetch(&server.url("/1")).unwrap(), b"end");
    let err = fetch(&server.url("/loop")).unwrap_err().to_string();
    assert!(err.ends_with("stopped after 10 redirects"), "{err}");
    assert!(matches!(
        fetch(&server.url("/file")),
        Err(Error::Redirect { .. })
    ));
    assert!(matches!(
        fetch(&server.url("/nowhere")),
        Err(Error::Status { status: 302, .. })
    ));
}

#[test]
fn credentials_stay_with_their_server() {
    let other = Server::start(|_, stream| answer(stream, "200 OK", &[], b"other"));
    let to = format!("Location: {}", other.url("/x"));
    let server = Server::start(move |head, stream| {
        if head.starts_with("GET /away") {
            answer(stream, "302 Found", &[&to], b"");
        } else {
            answer(stream, "200 OK", &[], b"own");
        }
    });
    let secret = |name: &str| (name == "HTTP_AUTH_TOKEN_127.0.0.1").then(|| b"abc\n".to_vec());
    for path in ["/own", "/away"] {
        fetch_with(&settings(), &secret, &server.url(path), None, None).unwrap();
    }
    assert!(
        server
            .requests()
            .iter()
            .all(|head| head.contains("authorization: Bearer abc\r\n"))
    );
    assert!(!other.requests()[0].contains("authorization"));
    let header = |name: &str| (name == "HTTP_AUTH_HEADER_127.0.0.1").then(|| b"Basic x".to_vec());
    fetch_with(&settings(), &header, &server.url("/own"), None, None).unwrap();
    assert!(server.requests()[2].contains("authorization: Basic x\r\n"));
    let broken = |_: &str| Some(b"a\r\nEvil: 1".to_vec());
    let err = fetch_with(&settings(), &broken, &server.url("/own"), None, None).unwrap_err();
    assert!(matches!(err, Error::Credentials { .. }), "{err}");
}

#[test]
fn checksums_are_checked() {
    let server = Server::start(|_, stream| answer(stream, "200 OK", &[], b"abc"));
    let right: Checksum = Digest::of(b"abc").to_string().parse().unwrap();
    let wrong: Checksum = Digest::of(b"abd").to_string().parse().unwrap();
    let check = |expected| {
        fetch_with(
            &settings(),
            &|_| None,
            &server.url("/"),
            None,
            Some(expected),
        )
    };
    check(&right).unwrap();
    let err = check(&wrong).unwrap_err().to_string();
    assert_eq!(
        err,
        format!(
            "digest mismatch for {}: {right} (expected: {wrong})",
            server.url("/")
        )
    );
}

#[test]
fn endless_and_huge_answers_end() {
    let server = Server::start(|head, stream| {
        if head.starts_with("GET /huge") {
            return drop(
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"),
            );
        }
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat();
        let mut open = stream.write_all(head).is_ok();
        while open {
            open = stream.write_all(&chunk).is_ok();
        }
    });
    for path in ["/huge", "/endless"] {
        let err = fetch(&server.url(path)).unwrap_err();
        assert!(
            matches!(err, Error::TooLarge { limit_bytes, .. } if limit_bytes == 1 << 20),
            "{err}"
        );
    }
}

#[test]
fn servers_that_make_no_progress_are_left() {
    let server = Server::start(|head, stream| {
        if head.starts_with("GET /silent") {
            // Ends when the client goes.
            drop(stream.read(&mut [0; 1]));
            return;
        }
        let mut open = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            .is_ok();
        if head.starts_with("GET /stall") {
            drop(stream.read(&mut [0; 1]));
            return;
        }
        while open {
            std::thread::sleep(Duration::from_millis(20));
            open = stream.write_all(b"x").is_ok();
        }
    });
    for path in ["/silent", "/stall", "/trickle"] {
        let err = fetch(&server.url(path)).unwrap_err();
        assert!(matches!(err, Error::Stalled { .. }), "{path}: {err:?}");
    }
}

#[test]
fn broken_answers_are_refused() {
    let server = Server::start(|head, stream| {
        let bytes: &[u8] = match head.split(' ').nth(1).unwrap() {
            "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "/garbage" => b"\x16\x03\x01 no http at all\r\n\r\n",
            "/closed" => b"",
            _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        };
        drop(stream.write_all(bytes));
    });
    for path in ["/short", "/garbage", "/closed", "/chunk"] {
        assert!(fetch(&server.url(path)).is_err(), "{path}");
    }
}

#[test]
fn a_canceled_build_waits_for_nobody() {
    let server = Server::start(|_, stream| drop(stream.read(&mut [0; 1])));
    let settings = Settings {
        idle: Duration::from_hours(1),
        ..settings()
    };
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let canceled = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let remote = Remote {
        canceled: &canceled,
        ..Remote::new(&settings)
    };
    assert!(matches!(
        remote.get(&server.url("/"), None),
        Err(Error::Canceled)
    ));
}

#[test]
fn a_server_without_a_trusted_certificate_is_refused() {
    // A server that does not even speak TLS is told apart from one that is not there.
    let server = Server::start(|_, _| {});
    let url = Url::parse(&format!("https://{}/", server.address)).unwrap();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let mut settings = settings();
    let path = empty.path().to_str().unwrap().to_owned();
    settings
        .environment
        .insert("SSL_CERT_FILE".to_owned(), path);
    assert!(fetch_with(&settings, &|_| None, &url, None, None).is_err());
}
