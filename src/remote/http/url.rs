//! Addresses of files: `http://` and `https://` only.

use std::fmt;

use base64::Engine as _;

use super::super::Error;

/// The name of a file whose address ends in none.
pub const UNNAMED: &str = "__unnamed__";
/// Longest address, as most servers have it.
const LENGTH_LIMIT: usize = 8 << 10;

/// An address. Its `Display` leaves credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// `user:password`, as written.
    user: Option<String>,
    /// Name or address, in lower case; an IPv6 address is in brackets.
    host: String,
    port: Option<u16>,
    /// Path and query, in characters that a request may have; begins with `/`.
    target: String,
}

impl Url {
    /// Reads an address; a fragment is dropped, and what may not stand in a
    /// request is escaped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why| Error::Url {
            text: redact(text),
            why,
        };
        if text.len() > LENGTH_LIMIT {
            return Err(Error::Url {
                text: text.chars().take(60).collect(),
                why: "it is too long",
            });
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("only http and https can be downloaded")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address).ok_or_else(|| wrong("its host is malformed"))?;
        Ok(Self {
            secure,
            user,
            host,
            port,
            target: escape(&rooted(target)),
        })
    }

    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, without port or brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether both are on one server, so that one's credentials are the other's.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// The address as a request has it.
    pub(super) fn request(&self) -> String {
        format!("{}{}", self.server(), self.target)
    }

    /// `Authorization` of the credentials in the address.
    pub(super) fn authorization(&self) -> Option<String> {
        let user = self.user.as_deref().filter(|user| !user.is_empty())?;
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let mut bytes = unescape(name);
        bytes.push(b':');
        bytes.extend(unescape(password));
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        Some(format!("Basic {encoded}"))
    }

    /// The last part of the path, unescaped, if it can name a file.
    pub fn file_name(&self) -> Option<String> {
        let path = self.target.split('?').next().unwrap_or_default();
        let path = String::from_utf8_lossy(&unescape(path)).into_owned();
        let name = path.trim_end_matches('/').rsplit('/').next()?;
        safe_name(name)
    }

    /// Where a `Location` in an answer from here leads.
    pub(super) fn join(&self, location: &str) -> Result<Self, Error> {
        let location = location.trim();
        let scheme = location.split(['/', '?', '#']).next().unwrap_or_default();
        if scheme.contains(':') {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.secure { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let location = location.split('#').next().unwrap_or_default();
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let target = if location.is_empty() {
            let query = query.map(|query| format!("?{query}"));
            format!("{path}{}", query.unwrap_or_default())
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else if location.starts_with('/') {
            location.to_owned()
        } else {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{location}")
        };
        Ok(Self {
            target: escape(&clean(&target)),
            ..self.clone()
        })
    }

    fn server(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}"));
        format!("{scheme}://{}{}", self.host, port.unwrap_or_default())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.server(), self.target)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// A name that is one file's in any directory: no separators, not `.` or `..`.
pub(super) fn safe_name(name: &str) -> Option<String> {
    /// Longest name of a file on Linux.
    const NAME_LIMIT: usize = 255;
    let is_safe =
        !matches!(name, "" | "." | "..") && name.len() <= NAME_LIMIT && !name.contains(['/', '\0']);
    is_safe.then(|| name.to_owned())
}

/// An address without its credentials, whatever it is.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://xxxxx{}", &rest[at..]),
        None => text.to_owned(),
    }
}

fn host_and_port(address: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            (format!("[{inner}]"), after)
        }
        None => {
            let end = address.find(':').unwrap_or(address.len());
            let (host, port) = address.split_at(end);
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if host.is_empty() || !host.bytes().all(is_host) {
                return None;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) => Some(digits.parse::<u16>().ok()?),
    };
    Some((host, port))
}

fn rooted(target: &str) -> String {
    if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    }
}

/// A path without `.` and `..`, its query kept.
fn clean(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target, String::new()),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        parts.push("");
    }
    format!("/{}{query}", parts.join("/"))
}

/// Escapes what may not stand in a request.
fn escape(target: &str) -> String {
    let mut escaped = String::with_capacity(target.len());
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Replaces `%41`; what is malformed stays.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("HTTPS://u:p%40@Host.example:8443/a b?q={x}#f").unwrap();
        assert_eq!(url.to_string(), "https://host.example:8443/a%20b?q=%7Bx%7D");
        assert_eq!(url.host(), "host.example");
        assert_eq!(url.authorization().unwrap(), "Basic dTpwQA==");
        assert_eq!(format!("{url:?}"), format!("Url({url})"));
        assert_eq!(
            Url::parse("http://[::1]:80?x").unwrap().request(),
            "http://[::1]:80/?x"
        );
        for wrong in [
            "file:///etc/passwd",
            "ftp://h/a",
            "http://",
            "http:///a",
            "http://h:x/",
            "http://h:99999/",
            "http://a b/",
            "http://[x]/",
            "nothing",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_come_from_the_path() {
        let name = |text: &str| Url::parse(text).unwrap().file_name();
        assert_eq!(name("http://h/a/b.txt?x=/y").as_deref(), Some("b.txt"));
        assert_eq!(name("http://h/a%20b").as_deref(), Some("a b"));
        assert_eq!(name("http://h/dir/").as_deref(), Some("dir"));
        assert_eq!(name("http://h/x%2Fy").as_deref(), Some("y"));
        for none in [
            "http://h",
            "http://h/",
            "http://h/..",
            "http://h/a/%2e%2e",
            "http://h/%00",
        ] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://h:1/a/b?q").unwrap();
        let join = |location: &str| base.join(location).unwrap().to_string();
        assert_eq!(join("c"), "https://h:1/a/c");
        assert_eq!(join("../c?x"), "https://h:1/c?x");
        assert_eq!(join("/c/./d"), "https://h:1/c/d");
        assert_eq!(join("?z"), "https://h:1/a/b?z");
        assert_eq!(join("//o/p"), "https://o/p");
        assert_eq!(join("http://o"), "http://o/");
        assert_eq!(join(""), "https://h:1/a/b?q");
        assert!(base.join("file:///etc/passwd").is_err());
        assert!(base.join("data:x").is_err());
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redact("https://u:p@h/a"), "https://xxxxx@h/a");
        assert_eq!(redact("https://h/a@b"), "https://h/a@b");
        let err = Url::parse("https://u:secret@/a").unwrap_err().to_string();
        assert!(!err.contains("secret"), "{err}");
    }
}
