//! What is sent and what comes back.

use std::fmt;
use std::io::Read;

use super::Url;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 9110 section 9 says what each means")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// What is sent with a request.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes of `reader`, to its end.
    Stream {
        /// Where they come from.
        reader: &'a mut dyn Read,
        /// How many there are; unknown ones are sent in chunks.
        length: Option<u64>,
    },
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// With what.
    pub url: &'a Url,
    /// Header names with their values; `Host`, `User-Agent` and `Content-Length` are added.
    pub headers: Vec<(&'a str, String)>,
    /// What is sent with it.
    pub body: Body<'a>,
}

impl<'a> Request<'a> {
    /// A GET without further headers.
    pub fn get(url: &'a Url) -> Self {
        Self::new(Method::Get, url)
    }

    /// A request without further headers and body.
    pub fn new(method: Method, url: &'a Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }
}

/// An answer, its body not read yet.
pub struct Response {
    /// The status code.
    pub status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// The body as it arrives; ends with an error when the connection breaks.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Response {
    /// The first header of this name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every header of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
    }

    /// The length that the server promises, in bytes.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Whether the status says that it worked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Where it sends the client instead, if it does.
    pub fn redirect(&self) -> Option<&str> {
        matches!(self.status, 301 | 302 | 303 | 307 | 308).then(|| self.header("location"))?
    }
}
