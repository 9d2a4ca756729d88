//! Answers, and how they are written.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Take, Write};

use super::connection::Stream;
use super::request::Method;

/// How much is copied at a time.
const PIECE: usize = 128 << 10;

/// What an answer carries.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Part of a file, from where it stands; the kernel copies it where it can.
    File(Take<File>),
    /// Bytes as they come. With a length, fewer bytes break the connection, so
    /// that the peer notices.
    Stream {
        /// The bytes.
        reader: Box<dyn Read + Send>,
        /// Their number, where it is known.
        length: Option<u64>,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            Some(length) => write!(f, "{length} bytes"),
            None => f.write_str("bytes"),
        }
    }
}

impl Content {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(part) => Some(part.limit()),
            Self::Stream { length, .. } => *length,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, but those that tell the length.
    pub headers: Vec<(&'static str, String)>,
    /// What it carries; of an answer to HEAD only the length is told.
    pub content: Content,
    /// What the log should say of it.
    pub note: Option<String>,
}

impl Response {
    /// An answer with nothing but a status.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content: Content::Bytes(Vec::new()),
            note: None,
        }
    }

    /// The same with a header. Control characters in the value become `?`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string().replace(|c: char| c.is_control(), "?");
        self.headers.push((name, value));
        self
    }

    /// The same with content.
    #[must_use]
    pub fn carrying(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}

/// What became of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Bytes of content that went out.
    pub(super) bytes: u64,
    /// Whether all did.
    pub(super) whole: bool,
    /// Whether another answer may follow on the connection.
    pub(super) keep_alive: bool,
}

/// The request that is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) method: &'a Method,
    pub(super) keep_alive: bool,
    pub(super) is_modern: bool,
}

/// Writes an answer.
pub(super) fn write(stream: &mut Stream, response: Response, to: To<'_>) -> Written {
    let has_content = !matches!(response.status, 100..200 | 204 | 304);
    let length = response.content.length();
    let is_chunked = has_content && length.is_none() && to.is_modern;
    let keep_alive = to.keep_alive && (length.is_some() || is_chunked || !has_content);
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nDate: {}\r\n",
        response.status,
        reason(response.status),
        date()
    );
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match length {
        Some(length) if has_content => head.push_str(&format!("Content-Length: {length}\r\n")),
        None if is_chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        _ => {}
    }
    if !keep_alive {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut sent = 0;
    let carries = has_content && *to.method != Method::Head;
    let content = carries.then_some(response.content);
    let done = send(stream, head, content, is_chunked, &mut sent).and_then(|()| stream.flush());
    Written {
        bytes: sent,
        whole: done.is_ok(),
        keep_alive,
    }
}

fn send(
    stream: &mut Stream,
    head: String,
    content: Option<Content>,
    is_chunked: bool,
    sent: &mut u64,
) -> io::Result<()> {
    let mut head = head.into_bytes();
    match content {
        None => stream.write_all(&head),
        Some(Content::Bytes(bytes)) => {
            // Together they are one packet more often than not.
            head.extend_from_slice(&bytes);
            stream.write_all(&head)?;
            *sent = bytes.len() as u64;
            Ok(())
        }
        Some(Content::File(mut part)) => {
            stream.write_all(&head)?;
            let want = part.limit();
            *sent = match stream {
                Stream::Plain(socket) => io::copy(&mut part, socket)?,
                Stream::Tls(tls) => copy(&mut part, tls)?,
            };
            all(*sent, want)
        }
        Some(Content::Stream { mut reader, length }) => {
            stream.write_all(&head)?;
            stream.flush()?;
            let mut buffer = vec![0; PIECE];
            while length.is_none_or(|length| *sent < length) {
                let left = length.map_or(u64::MAX, |length| length - *sent);
                let most = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
                let count = match reader.read(&mut buffer[..most]) {
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                if count == 0 {
                    break;
                }
                if is_chunked {
                    write!(stream, "{count:x}\r\n")?;
                }
                stream.write_all(&buffer[..count])?;
                if is_chunked {
                    stream.write_all(b"\r\n")?;
                }
                stream.flush()?;
                *sent += count as u64;
            }
            if is_chunked {
                stream.write_all(b"0\r\n\r\n")?;
            }
            all(*sent, length.unwrap_or(*sent))
        }
    }
}

fn all(sent: u64, want: u64) -> io::Result<()> {
    if sent == want {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Copies in large pieces, which fill encrypted records.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

/// Now, as HTTP writes it.
fn date() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The words for a status code.
///
/// Source: RFC 9110, section 15.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
