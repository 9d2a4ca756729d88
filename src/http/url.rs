//! The parts of a URL that decide where a request goes.

use std::fmt;

/// Longest URL that is accepted, in bytes.
const LENGTH_LIMIT: usize = 16 << 10;

/// An absolute `http` or `https` URL without a fragment.
///
/// Source: RFC 3986; what is kept of it is what HTTP sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    tls: bool,
    /// User name and password as written, before an `@`.
    userinfo: Option<String>,
    /// Host and port as written, in lower case.
    authority: String,
    /// From the first slash on, query included; never empty.
    target: String,
}

/// A text that is no URL one can send a request to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL `{url}`: {why}")]
pub struct UrlError {
    /// The text, without a password in it.
    pub url: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = |why| UrlError {
            url: without_password(text),
            why,
        };
        if text.len() > LENGTH_LIMIT {
            return Err(wrong("it is too long"));
        }
        if text
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\')
        {
            return Err(wrong("it has a space, a control character or a backslash"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme such as https://"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user.to_owned()), authority),
            None => (None, authority),
        };
        if !good_authority(authority) {
            return Err(wrong("its host is malformed"));
        }
        let target = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        Ok(Self {
            tls,
            userinfo,
            authority: authority.to_ascii_lowercase(),
            target,
        })
    }

    /// The URL that `reference` (absolute, or relative to this one) names, as in a `Location` header.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let scheme = if self.tls { "https" } else { "http" };
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        if reference
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            return Self::parse(reference);
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match reference.chars().next() {
            None => self.target.clone(),
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            Some(_) => {
                let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
                format!("{dir}/{reference}")
            }
        };
        Self::parse(&format!("{scheme}://{}{target}", self.authority))
    }

    /// The same with `name=value` added to the query, encoded.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let mark = if self.target.contains('?') { '&' } else { '?' };
        Self {
            target: format!("{}{mark}{}={}", self.target, encode(name), encode(value)),
            ..self.clone()
        }
    }

    /// Whether it is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host and port, as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        split_port(&self.authority).0
    }

    /// The port, written or implied.
    pub fn port(&self) -> u16 {
        let implied = if self.tls { 443 } else { 80 };
        split_port(&self.authority)
            .1
            .and_then(|port| port.parse().ok())
            .unwrap_or(implied)
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }

    /// User name and password, decoded, where the URL has them.
    pub fn userinfo(&self) -> Option<(String, String)> {
        let (user, password) = match self.userinfo.as_deref()?.split_once(':') {
            Some((user, password)) => (user, password),
            None => (self.userinfo.as_deref()?, ""),
        };
        Some((decode(user), decode(password)))
    }

    /// Whether the host is a link-local address, where clouds have services for their machines.
    pub fn is_link_local(&self) -> bool {
        match self.host().trim_matches(['[', ']']).parse() {
            Ok(std::net::IpAddr::V4(address)) => address.is_link_local(),
            Ok(std::net::IpAddr::V6(address)) => address.is_unicast_link_local(),
            Err(_) => false,
        }
    }

    /// Whether both go to the same server by the same way: a secret for one may be sent to the other.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.tls == other.tls && self.host() == other.host() && self.port() == other.port()
    }

    /// The text that is requested: no user, no password.
    pub(super) fn request_text(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.target)
    }
}

/// Never shows a password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.request_text())
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn good_authority(authority: &str) -> bool {
    let (host, port) = split_port(authority);
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let good_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    good_port && good_host
}

/// Percent-encodes what has a meaning in a query.
fn encode(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if keep(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A URL for a message: what stands before an `@` is left out.
fn without_password(text: &str) -> String {
    let shown: String = text.chars().take(200).collect();
    match (shown.split_once("://"), shown.split_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn parts_are_found() {
        let parsed = url("HTTPS://us%40er:p:w@Example.COM:8443?a=b#frag");
        assert_eq!(parsed.to_string(), "https://example.com:8443/?a=b");
        assert_eq!(
            parsed.userinfo(),
            Some(("us@er".to_owned(), "p:w".to_owned()))
        );
        assert_eq!(
            (parsed.host(), parsed.port(), parsed.path()),
            ("example.com", 8443, "/")
        );
        assert_eq!(url("http://[::1]:5000/v2/").host(), "[::1]");
        assert_eq!(url("http://[::1]/").port(), 80);
    }

    #[test]
    fn locations_are_joined() {
        let base = url("https://r.example/v2/a/blobs/uploads/?x=1");
        let join = |text: &str| base.join(text).map(|url| url.to_string());
        assert_eq!(join("/v2/b").unwrap(), "https://r.example/v2/b");
        assert_eq!(
            join("uuid?s=1").unwrap(),
            "https://r.example/v2/a/blobs/uploads/uuid?s=1"
        );
        assert_eq!(
            join("?y").unwrap(),
            "https://r.example/v2/a/blobs/uploads/?y"
        );
        assert_eq!(join("//other/x").unwrap(), "https://other/x");
        assert_eq!(join("http://other:1/x").unwrap(), "http://other:1/x");
        assert!(join("file:///etc/passwd").is_err());
        assert_eq!(
            base.with_query("digest", "sha256:a b&c").to_string(),
            format!("{base}&digest=sha256:a%20b%26c")
        );
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert!(url("https://a/x").same_origin(&url("https://A:443/y")));
        for other in ["http://a/x", "https://b/x", "https://a:444/x"] {
            assert!(!url("https://a/x").same_origin(&url(other)), "{other}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_showing_a_password() {
        for text in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a\r\nX: y/",
            "http://a:0/",
            "http://a:x/",
            "http://[::1/",
            "http://a\\@b/",
            "http://ä/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        let shown = Url::parse("ftp://user:secret@host/x")
            .unwrap_err()
            .to_string();
        assert!(
            !shown.contains("secret") && shown.contains("ftp://host/x"),
            "{shown}"
        );
    }
}
