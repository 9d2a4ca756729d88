//! Heads of requests: read within a time, parsed, and how long the body is.

use std::io;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::request::Method;

/// Most headers of a request.
const HEADERS: usize = 100;
/// How long a peer may take to send a head, once it has begun.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// As its chunks say.
    Chunked,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    /// Whether the peer waits for `100 Continue`.
    pub(super) expects: bool,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
    /// Whether it speaks HTTP/1.1, which knows chunks.
    pub(super) is_modern: bool,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The peer has ended the connection, or said nothing for too long.
    Over,
    /// It broke the protocol: the status to answer with, and why.
    Refused(u16, &'static str),
}

/// Reads the next head. Until its first byte the peer may be idle for `idle`.
pub(super) fn read(connection: &mut Connection, idle: Duration) -> Result<Head, NoHead> {
    if connection.waiting().is_empty() {
        match connection.fill_until(Instant::now() + idle) {
            Ok(0) | Err(_) => return Err(NoHead::Over),
            Ok(_) => {}
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((head, length)) = parse(connection.waiting())? {
            connection.take(length);
            return Ok(head);
        }
        if connection.is_full() {
            return Err(NoHead::Refused(431, "the head of the request is too large"));
        }
        match connection.fill_until(deadline) {
            Ok(0) => return Err(NoHead::Over),
            Ok(_) => {}
            Err(err) if is_timeout(&err) => {
                return Err(NoHead::Refused(408, "the request came too slowly"));
            }
            Err(_) => return Err(NoHead::Over),
        }
    }
}

fn is_timeout(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// The head at the beginning of `bytes` and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, NoHead> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(NoHead::Refused(431, "the request has too many headers"));
        }
        Err(httparse::Error::Version) => {
            return Err(NoHead::Refused(505, "only HTTP/1.1 is spoken here"));
        }
        Err(_) => return Err(NoHead::Refused(400, "the request is malformed")),
    };
    let is_modern = request.version == Some(1);
    let mut list = Vec::with_capacity(request.headers.len());
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value)
            .map_err(|_| NoHead::Refused(400, "a header of the request is no text"))?;
        list.push((header.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let framing = framing(&list, is_modern)?;
    let has = |name: &str, token: &str| {
        list.iter()
            .filter(|(own, _)| own == name)
            .flat_map(|(_, value)| value.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    };
    let head = Head {
        method: Method::of(request.method.unwrap_or_default()),
        target: request.path.unwrap_or_default().to_owned(),
        framing,
        expects: is_modern && has("expect", "100-continue"),
        keep_alive: is_modern && !has("connection", "close"),
        is_modern,
        headers: list,
    };
    Ok(Some((head, length)))
}

/// How long the body is. What could be read in two ways is refused: it is how
/// requests are smuggled past a proxy.
fn framing(headers: &[(String, String)], is_modern: bool) -> Result<Framing, NoHead> {
    let values = |wanted: &str| {
        let own = headers.iter().filter(move |(name, _)| name == wanted);
        own.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if is_modern && coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        ([], _) => Err(NoHead::Refused(
            501,
            "the body has an unknown transfer encoding",
        )),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
            .parse()
            .map(Framing::Length)
            .map_err(|_| NoHead::Refused(400, "the length of the body is no number")),
        _ => Err(NoHead::Refused(400, "the length of the body is ambiguous")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<Framing, u16>) {
        let text = format!("POST / HTTP/1.1\r\n{text}\r\n");
        let got = match parse(text.as_bytes()) {
            Ok(Some((head, length))) => {
                assert_eq!(length, text.len());
                Ok(head.framing)
            }
            Ok(None) => panic!("it is whole"),
            Err(NoHead::Refused(status, _)) => Err(status),
            Err(NoHead::Over) => panic!("there is no connection"),
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn a_body_has_one_length() {
        check("", Ok(Framing::Length(0)));
        check("Content-Length: 12\r\n", Ok(Framing::Length(12)));
        check("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked));
        check(
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            Err(400),
        );
        check("Content-Length: 3\r\nContent-Length: 3\r\n", Err(400));
        check("Content-Length: 3, 3\r\n", Err(400));
        check("Content-Length: +3\r\n", Err(400));
        check("Content-Length: 99999999999999999999\r\n", Err(400));
        check("Transfer-Encoding: gzip, chunked\r\n", Err(501));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_head_or_none(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            start in "(GET|PUT) [ -~]{0,20} HTTP/1.[01]\r\n([!-~]{1,9}: ?[ -~]{0,9}\r\n){0,3}",
        ) {
            drop(parse(&bytes));
            let whole = [start.as_bytes(), &bytes, b"\r\n\r\n"].concat();
            if let Ok(Some((_, length))) = parse(&whole) {
                proptest::prop_assert!(length <= whole.len());
            }
        }
    }

    #[test]
    fn a_head_in_pieces_is_not_whole() {
        let text = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(parse(&text.as_bytes()[..end]), Ok(None)), "{end}");
        }
        assert!(matches!(
            parse(b"GET / HTTP/2.0\r\n\r\n"),
            Err(NoHead::Refused(505, _))
        ));
        assert!(matches!(parse(b"\0\0"), Err(NoHead::Refused(400, _))));
    }
}
