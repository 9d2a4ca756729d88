//! Digests and the identifiers made of them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
///
/// Source: OCI image-spec 1.1, "Descriptors", section "Digests".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
pub struct ParseDigestError(String);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps 32 raw bytes that are known to be a SHA-256 digest.
    pub const fn from_raw(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 raw bytes.
    pub const fn raw(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// The first 12 hexadecimal digits, as listings show them.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// Parses 64 hexadecimal digits without the algorithm.
    pub fn from_hex(hex: &str) -> Result<Self, ParseDigestError> {
        let wrong = || ParseDigestError(hex.to_owned());
        if hex.len() != 64 {
            return Err(wrong());
        }
        let mut raw = [0; 32];
        for (slot, pair) in raw.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |byte: u8| match byte {
                b'0'..=b'9' => Some(byte - b'0'),
                b'a'..=b'f' => Some(byte - b'a' + 10),
                _ => None,
            };
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(wrong());
            };
            *slot = high << 4 | low;
        }
        Ok(Self(raw))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:")
            .ok_or_else(|| ParseDigestError(text.to_owned()))
            .and_then(|hex| Self::from_hex(hex).map_err(|_| ParseDigestError(text.to_owned())))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running SHA-256 over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts an empty hash.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds the length of `part` and then `part`, so that neighbouring parts of
    /// a key can never run into each other.
    pub fn part(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Ends the hash.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Digest::deserialize(deserializer).map(Self)
            }
        }
    };
}

digest_newtype! {
    /// The digest of a layer's uncompressed tar, as `rootfs.diff_ids` lists it.
    DiffId
}
digest_newtype! {
    /// The identity of a stack of layers: the first diff ID, then the hash of
    /// the lower chain ID, a space and the next diff ID.
    ///
    /// Source: OCI image-spec 1.1, "Image Configuration", section "Layer ChainID".
    ChainId
}
digest_newtype! {
    /// The digest of an image's configuration: what `images -q` prints.
    ImageId
}
digest_newtype! {
    /// The key of one build step's result. `docs/cache.md` says what enters it.
    CacheKey
}

impl ChainId {
    /// The chain ID of a single bottom layer.
    pub fn base(diff: DiffId) -> Self {
        Self(diff.0)
    }

    /// The chain ID of `diff` on top of this stack.
    #[must_use]
    pub fn push(self, diff: DiffId) -> Self {
        Self(Digest::of(format!("{} {}", self.0, diff.0).as_bytes()))
    }

    /// The chain ID of a whole stack, bottom layer first; `None` for no layers.
    pub fn of(diffs: &[DiffId]) -> Option<Self> {
        let (first, rest) = diffs.split_first()?;
        Some(
            rest.iter()
                .fold(Self::base(*first), |chain, diff| chain.push(*diff)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_text_round_trips() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn wrong_digests_are_refused() {
        for text in [
            "",
            "sha256:",
            "sha512:00",
            "sha256:E3b0",
            "e3b0c44298fc1c14",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn chain_of_two_hashes_both_texts() {
        let (a, b) = (DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b")));
        let chain = ChainId::of(&[a, b]).unwrap();
        assert_eq!(chain.0, Digest::of(format!("{a} {b}").as_bytes()));
        assert_eq!(ChainId::of(&[a]).unwrap().0, a.0);
        assert!(ChainId::of(&[]).is_none());
    }
}
