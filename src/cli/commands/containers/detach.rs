//! The keys that leave a container's terminal. Pure.

/// Docker's default: control-P, control-Q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Looks for the detach keys in what is typed.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    keys: Vec<u8>,
    matched: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            keys: DEFAULT.to_vec(),
            matched: 0,
        }
    }
}

impl Keys {
    /// Parses `--detach-keys`: single characters or `ctrl-` and one of
    /// `a`-`z`, `@`, `^`, `[`, `]`, `_`, `\`, or `DEL`, separated by commas;
    /// nothing stands for the default.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |word: &str| -> Option<u8> {
            if let [byte] = word.as_bytes() {
                return Some(*byte);
            }
            if word == "DEL" {
                return Some(127);
            }
            let byte = match word.strip_prefix("ctrl-")?.as_bytes() {
                [byte] => *byte,
                _ => return None,
            };
            match byte {
                b'a'..=b'z' => Some(byte - b'a' + 1),
                b'@' => Some(0),
                b'[' => Some(27),
                b'\\' => Some(28),
                b']' => Some(29),
                b'^' => Some(30),
                b'_' => Some(31),
                _ => None,
            }
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        match keys {
            Some(keys) => Ok(Self { keys, matched: 0 }),
            None => Err(format!("invalid detach keys ({text}) provided")),
        }
    }

    /// What of the typed bytes goes on, and whether the keys were complete;
    /// what came after them is dropped. The start of the keys is held back
    /// until it is clear that it is not meant.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) != Some(&byte) {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.first() != Some(&byte) && self.matched == 0 {
                passed.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], want: &[u8], detached: bool) {
        let mut keys = Keys::default();
        let mut passed = Vec::new();
        let mut done = false;
        for piece in pieces {
            let (bytes, now) = keys.filter(piece);
            passed.extend(bytes);
            done |= now;
        }
        assert_eq!((passed.as_slice(), done), (want, detached), "{pieces:?}");
    }

    #[test]
    fn the_keys_are_found_and_their_start_is_held_back() {
        check(&[b"ab"], b"ab", false);
        check(&[b"a\x10\x11"], b"a", true);
        check(&[b"a\x10", b"\x11"], b"a", true);
        check(&[b"\x10", b"x"], b"\x10x", false);
        check(&[b"\x10\x10\x11"], b"\x10", true);
        check(&[b"\x10"], b"", false);
    }

    #[test]
    fn keys_are_parsed() {
        assert_eq!(Keys::parse("ctrl-a,d").unwrap().keys, [1, b'd']);
        assert_eq!(Keys::parse("ctrl-[").unwrap().keys, [27]);
        assert!(Keys::parse("ctrl-nope").is_err());
        assert_eq!(Keys::parse("DEL").unwrap().keys, [127]);
        assert_eq!(Keys::parse("").unwrap().keys, DEFAULT);
        assert!(Keys::parse("a,").is_err());
        assert!(Keys::parse("ab").is_err());
    }
}
