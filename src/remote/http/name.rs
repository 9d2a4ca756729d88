//! Addresses as Dockerfiles write them, and the names of files in them.

use crate::http::{Url, UrlError};

/// The name of a file whose address ends in none.
pub const UNNAMED: &str = "__unnamed__";
/// Longest name of a file on Linux.
const NAME_LIMIT: usize = 255;

/// Reads an address; what may not stand in a request is escaped first.
pub fn address(text: &str) -> Result<Url, UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Url::parse(text);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let mut escaped = String::with_capacity(text.len());
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    Url::parse(&format!("{scheme}://{authority}{escaped}"))
}

/// The last part of an address' path, unescaped, if it can name a file.
pub fn file_name(url: &Url) -> Option<String> {
    let path = String::from_utf8_lossy(&unescape(url.path())).into_owned();
    safe_name(path.trim_end_matches('/').rsplit('/').next()?)
}

/// A name that is one file's in any directory: no separators, not `.` or `..`.
fn safe_name(name: &str) -> Option<String> {
    let is_safe =
        !matches!(name, "" | "." | "..") && name.len() <= NAME_LIMIT && !name.contains(['/', '\0']);
    is_safe.then(|| name.to_owned())
}

/// Replaces `%41`; what is malformed stays.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| {
            let byte = after.get(at)?;
            char::from(*byte).to_digit(16)
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
    fn what_may_not_be_requested_is_escaped() {
        let url = address("HTTPS://u:p@Host:8443/a b/ä?q={x}#f").unwrap();
        assert_eq!(url.to_string(), "https://host:8443/a%20b/%C3%A4?q=%7Bx%7D");
        for wrong in [
            "file:///etc/passwd",
            "ftp://h/a",
            "http://",
            "http://a b/",
            "nothing",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_come_from_the_path() {
        let name = |text: &str| file_name(&address(text).unwrap());
        assert_eq!(name("http://h/a/b.txt?x=/y").as_deref(), Some("b.txt"));
        assert_eq!(name("http://h/a b[1]").as_deref(), Some("a b[1]"));
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
}
