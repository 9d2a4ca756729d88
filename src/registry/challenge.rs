//! `WWW-Authenticate`: what a registry asks for before it answers.
//!
//! Source: RFC 9110 section 11.6.1; distribution's token specification.

/// Most challenges in one answer, and parameters in one challenge, that are read.
const LIMIT: usize = 16;
/// Longest header that is read, in bytes; real ones have some hundred.
const LENGTH_LIMIT: usize = 8 << 10;

/// One way to authenticate that the registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and password with every request.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow, such as `repository:a/b:pull`; may have several, with spaces between.
        scope: Option<String>,
        /// Why the token that was sent is not enough, such as `insufficient_scope`.
        error: Option<String>,
    },
}

impl Challenge {
    /// The challenges of a header's value that are known; others are passed over.
    pub(super) fn parse(header: &str) -> Vec<Self> {
        if header.len() > LENGTH_LIMIT {
            return Vec::new();
        }
        let mut reader = Reader { rest: header };
        let mut found = Vec::new();
        while let Some((scheme, parameters)) = reader.challenge() {
            let value = |name: &str| {
                let pair = parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                pair.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                found.push(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = value("realm")
            {
                found.push(Self::Bearer {
                    realm,
                    service: value("service"),
                    scope: value("scope"),
                    error: value("error"),
                });
            }
            if found.len() == LIMIT {
                break;
            }
        }
        found
    }
}

/// Reads a header from front to end.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenge(&mut self) -> Option<(&'a str, Vec<(&'a str, String)>)> {
        self.skip(&[' ', '\t', ',']);
        let scheme = self.token()?;
        let mut parameters = Vec::new();
        loop {
            self.skip(&[' ', '\t', ',']);
            let before = self.rest;
            let Some(parameter) = self.parameter() else {
                // A word without `=` begins the next challenge.
                self.rest = before;
                break;
            };
            if parameters.len() < LIMIT {
                parameters.push(parameter);
            }
        }
        Some((scheme, parameters))
    }

    fn parameter(&mut self) -> Option<(&'a str, String)> {
        let name = self.token()?;
        self.skip(&[' ', '\t']);
        self.rest = self.rest.strip_prefix('=')?;
        self.skip(&[' ', '\t']);
        let value = match self.rest.strip_prefix('"') {
            Some(quoted) => {
                self.rest = quoted;
                self.quoted()?
            }
            None => self.token()?.to_owned(),
        };
        Some((name, value))
    }

    /// The text up to the closing quote, escapes resolved.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(chars.next()?.1),
                other => text.push(other),
            }
        }
        None
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"[]?={}".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn skip(&mut self, what: &[char]) {
        self.rest = self.rest.trim_start_matches(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let wanted = bearer(
            "https://auth.example/token",
            Some("registry.example"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(Challenge::parse(header), [wanted]);
        assert_eq!(Challenge::parse("Basic realm=\"x\""), [Challenge::Basic]);
        assert_eq!(Challenge::parse("basic"), [Challenge::Basic]);
        assert_eq!(
            Challenge::parse(
                "Negotiate, Basic realm=\"a, b\", bearer REALM = \"q\\\"r\" , service=s"
            ),
            [Challenge::Basic, bearer("q\"r", Some("s"), None)]
        );
    }

    #[test]
    fn hostile_headers_give_nothing() {
        for header in [
            "",
            ",,,",
            "=",
            "Bearer",
            "Bearer realm",
            "Bearer realm=\"open",
            "\"",
            "Bearer =x",
        ] {
            assert_eq!(Challenge::parse(header), [], "{header}");
        }
        assert_eq!(Challenge::parse(&"Basic ".repeat(10_000)), []);
        assert!(Challenge::parse(&"Basic ".repeat(100)).len() <= LIMIT);
    }
}
