use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

/// Answers with what came; special paths answer in special ways.
struct Echo;

impl Handler for Echo {
    fn answer(&self, request: &mut Request<'_>) -> Response {
        let stream = |bytes: &'static [u8], length| Content::Stream {
            reader: Box::new(Cursor::new(bytes)),
            length,
        };
        match request.path.as_str() {
            "/early" => Response::new(401),
            "/endless" => Response::new(200).carrying(stream(b"abc", None)),
            "/short" => Response::new(200).carrying(stream(b"abc", Some(5))),
            "/file" => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(b"0123456789").unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
                Response::new(200).carrying(Content::File(file.take(4)))
            }
            _ => match request.read_all(1 << 20) {
                Ok(Some(body)) => Response::new(200)
                    .with("X-Method", request.method.name())
                    .with("X-Path", format!("{}\r\nX-Split: 1", request.path))
                    .carrying(Content::Bytes(body)),
                Ok(None) => Response::new(413),
                Err(_) => Response::new(400),
            },
        }
    }
}

/// A server of a test; it ends with this value.
struct Running {
    address: std::net::SocketAddr,
    accesses: Arc<Mutex<Vec<Access>>>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        let listener = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let accesses = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&accesses);
        let observer = Box::new(move |access| own.lock().unwrap().push(access));
        let server = Server::new(listener, None, Box::new(Echo), observer).unwrap();
        let address = server.address();
        let (read, stop) = rustix::pipe::pipe().unwrap();
        let thread = std::thread::spawn(move || server.run(read.as_fd()).unwrap());
        Self {
            address,
            accesses,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        socket
    }

    /// Everything that comes for these bytes until the connection ends.
    fn ask(&self, text: &str) -> String {
        let mut socket = self.connect();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        // The server may reset the connection behind its answer.
        let _end = socket.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

const CLOSE: &str = "Connection: close\r\n\r\n";

#[test]
fn requests_follow_each_other_on_a_connection() {
    let server = Running::new();
    let answer = server.ask(&format!(
        "POST /a%20b?x=1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nonePUT /c HTTP/1.1\r\n\
         Transfer-Encoding: chunked\r\n\r\n2;x=y\r\ntw\r\n1\r\no\r\n0\r\nT: 1\r\n\r\n\
         HEAD /file HTTP/1.1\r\n\r\nGET /file HTTP/1.1\r\n{CLOSE}"
    ));
    let heads: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(heads.len(), 4, "{answer}");
    assert!(heads[0].ends_with("\r\n\r\none") && heads[0].contains("X-Path: /a b??X-Split"));
    assert!(heads[1].ends_with("\r\n\r\ntwo") && heads[1].contains("X-Method: PUT"));
    assert!(heads[2].ends_with("Content-Length: 4\r\n\r\n"), "{answer}");
    assert!(heads[3].ends_with("\r\n\r\n0123") && heads[3].contains("Connection: close"));
    let accesses = server.accesses.lock().unwrap();
    let told: Vec<_> = accesses.iter().map(|a| (a.received, a.sent)).collect();
    assert_eq!(told, [(3, 3), (3, 3), (0, 0), (0, 4)]);
}

#[test]
fn content_of_unknown_length_comes_in_chunks() {
    let server = Running::new();
    let answer = server.ask(&format!("GET /endless HTTP/1.1\r\n{CLOSE}"));
    assert!(
        answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        "{answer}"
    );
    let answer = server.ask("GET /endless HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("Connection: close\r\n\r\nabc"), "{answer}");
}

#[test]
fn content_that_is_too_short_breaks_the_connection() {
    let server = Running::new();
    let answer = server.ask("GET /short HTTP/1.1\r\n\r\nGET /file HTTP/1.1\r\n\r\n");
    assert!(answer.ends_with("Content-Length: 5\r\n\r\nabc"), "{answer}");
}

#[test]
fn a_body_is_asked_for_when_the_peer_waits() {
    let server = Running::new();
    let answer = server.ask(&format!(
        "PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n{CLOSE}hi"
    ));
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
    // Who is refused need not send it.
    let answer = server
        .ask("PUT /early HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("Connection: close"));
}

#[test]
fn an_early_answer_reaches_who_is_still_sending() {
    let server = Running::new();
    let mut socket = server.connect();
    let head = "PUT /early HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    for _ in 0..3 {
        if socket.write_all(&vec![0; 1_000_000]).is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _end = socket.read_to_string(&mut answer);
    assert_eq!(status(&answer), "401");
}

#[test]
fn what_is_malformed_is_refused() {
    let server = Running::new();
    let check = |text: &str, want: &str| {
        let answer = server.ask(text);
        assert_eq!(status(&answer), want, "{text:?}");
        assert!(answer.contains("Connection: close"), "{answer}");
    };
    check("nonsense\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nA\r\n\r\n", "400");
    check("GET * HTTP/1.1\r\n\r\n", "400");
    check("GET /%zz HTTP/1.1\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400");
    let chunk = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for wrong in [
        "x\r\n",
        "-1\r\n",
        "11111111111111111\r\n",
        "1\r\nabc\r\n",
        "\r\n",
    ] {
        check(&format!("{chunk}{wrong}"), "400");
    }
    check(
        &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000)),
        "431",
    );
    check(
        &format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(200)),
        "431",
    );
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    let server = Running::new();
    let mut socket = server.connect();
    socket
        .write_all(b"PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _end = socket.read_to_string(&mut answer);
    assert_eq!(status(&answer), "400");
}

#[test]
fn more_connections_than_there_are_places_make_room() {
    let server = Running::new();
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(server.connect());
    }
    let answer = server.ask(&format!("GET /file HTTP/1.1\r\n{CLOSE}"));
    assert_eq!(status(&answer), "200");
}

#[test]
fn a_stopped_server_ends_idle_connections() {
    let server = Running::new();
    let mut socket = server.connect();
    socket.write_all(b"GET /file HTTP/1.1\r\n\r\n").unwrap();
    let mut begun = [0; 12];
    socket.read_exact(&mut begun).unwrap();
    drop(server);
    let mut rest = Vec::new();
    let _end = socket.read_to_end(&mut rest);
    assert!(rest.ends_with(b"0123"));
}
