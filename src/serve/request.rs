//! Requests as handlers see them.

use std::io::{self, Read};
use std::net::SocketAddr;

use super::body::Body;
use super::connection::Connection;
use super::head::{Framing, Head};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Fetch.
    Get,
    /// Fetch the head of the answer alone.
    Head,
    /// Add.
    Post,
    /// Put in place.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
    /// Any other.
    Other(String),
}

impl Method {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other(name) => name,
        }
    }
}

/// A request; reading it reads its body.
#[derive(Debug)]
pub struct Request<'c> {
    /// What is to be done.
    pub method: Method,
    /// The path, decoded. It may hold anything, `..` and NUL included.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// Who asks.
    pub peer: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    headers: Vec<(String, String)>,
    length: Option<u64>,
    body: Body<'c>,
}

impl<'c> Request<'c> {
    /// The request with this head; `None` when its target is no path.
    pub(super) fn new(
        head: Head,
        connection: &'c mut Connection,
        peer: SocketAddr,
        is_tls: bool,
    ) -> Option<Self> {
        // A whole URL is what proxies are asked with; we are the server of its host.
        let target = match head.target.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/')?..],
            None => head.target.as_str(),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if !path.starts_with('/') {
            return None;
        }
        Some(Self {
            method: head.method,
            path: decode(path, false)?,
            query: pairs(query)?,
            peer,
            is_tls,
            headers: head.headers,
            length: match head.framing {
                Framing::Length(length) => Some(length),
                Framing::Chunked => None,
            },
            body: Body::new(connection, head.framing, head.expects),
        })
    }

    /// The value of a header, by its lower-case name; the first of several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of a name of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a name of the query.
    pub fn query_all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let own = self.query.iter().filter(move |(own, _)| own == name);
        own.map(|(_, value)| value.as_str())
    }

    /// The length of the body in bytes, where the peer has told it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads the whole body; `None` when it has more than `limit` bytes.
    pub fn read_all(&mut self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        if self.length.is_some_and(|length| length > limit) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= limit).then_some(bytes))
    }

    pub(super) fn body(&mut self) -> &mut Body<'c> {
        &mut self.body
    }
}

impl Read for Request<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.body.read(into)
    }
}

/// The names and values of a query or a form; `None` when they are malformed.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decode(name, true)?, decode(value, true)?))
    };
    parts.map(pair).collect()
}

impl Request<'_> {
    /// The names and values of a form, as bodies hold them.
    pub fn form(bytes: &[u8]) -> Option<Vec<(String, String)>> {
        pairs(std::str::from_utf8(bytes).ok()?)
    }
}

/// Text with its `%xx` replaced, and `+` by a blank in queries.
fn decode(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if is_query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_or_refused() {
        assert_eq!(decode("/a%2Fb+c", false).as_deref(), Some("/a/b+c"));
        assert_eq!(decode("a+b", true).as_deref(), Some("a b"));
        for wrong in ["%", "%1", "%g0", "%ff", "%+1"] {
            assert_eq!(decode(wrong, false), None, "{wrong}");
        }
        let query = pairs("a=1&b&&c=x%3dy").unwrap();
        let want = [("a", "1"), ("b", ""), ("c", "x=y")];
        assert!(query.iter().map(|(a, b)| (a.as_str(), b.as_str())).eq(want));
    }
}
