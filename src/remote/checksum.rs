//! Checksums of downloads: `sha256:`, `sha384:` and `sha512:` with hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha384, Sha512};

use crate::oci::{Digest, Hasher};

/// What a download's bytes must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// Why a text is no checksum, in the words of Docker's digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseChecksumError {
    /// Not `algorithm:hex`.
    #[error("invalid checksum digest format")]
    Format,
    /// Too few digits, or too many.
    #[error("invalid checksum digest length")]
    Length,
    /// Another algorithm.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl FromStr for Checksum {
    type Err = ParseChecksumError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(ParseChecksumError::Format)?;
        if name.is_empty() || hex.is_empty() {
            return Err(ParseChecksumError::Format);
        }
        let known = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
        let Some(algorithm) = known.into_iter().find(|known| known.name() == name) else {
            let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let looks_right = name
                .split(['+', '.', '_', '-'])
                .all(|part| !part.is_empty() && is_name(part))
                && hex
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte));
            return Err(if looks_right {
                ParseChecksumError::Algorithm
            } else {
                ParseChecksumError::Format
            });
        };
        if hex.len() != algorithm.digits() {
            return Err(ParseChecksumError::Length);
        }
        if !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ParseChecksumError::Format);
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// Hashes a download: its digest, and the checksum that was asked for.
#[derive(Debug)]
pub(super) struct Verifier {
    digest: Hasher,
    other: Option<Other>,
}

#[derive(Debug)]
enum Other {
    Sha384(Box<Sha384>),
    Sha512(Box<Sha512>),
}

impl Verifier {
    pub(super) fn new(expected: Option<&Checksum>) -> Self {
        let other = match expected.map(|expected| expected.algorithm) {
            Some(Algorithm::Sha384) => Some(Other::Sha384(Box::default())),
            Some(Algorithm::Sha512) => Some(Other::Sha512(Box::default())),
            Some(Algorithm::Sha256) | None => None,
        };
        Self {
            digest: Hasher::new(),
            other,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        match &mut self.other {
            Some(Other::Sha384(hasher)) => hasher.update(bytes),
            Some(Other::Sha512(hasher)) => hasher.update(bytes),
            None => {}
        }
    }

    /// The digest, and the checksum in the algorithm that was expected.
    pub(super) fn finish(self) -> (Digest, Checksum) {
        let digest = self.digest.finish();
        let (algorithm, hex) = match self.other {
            None => (Algorithm::Sha256, digest.hex()),
            Some(Other::Sha384(hasher)) => (Algorithm::Sha384, hex(&hasher.finalize())),
            Some(Other::Sha512(hasher)) => (Algorithm::Sha512, hex(&hasher.finalize())),
        };
        (digest, Checksum { algorithm, hex })
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_refused_in_the_words_of_docker() {
        let check = |text: &str, want: &str| {
            let err = text.parse::<Checksum>().unwrap_err();
            assert_eq!(err.to_string(), want, "{text}");
        };
        check("", "invalid checksum digest format");
        check("sha256", "invalid checksum digest format");
        check("sha256:", "invalid checksum digest format");
        check("sha256:ab", "invalid checksum digest length");
        check(
            &format!("sha256:{}", "G".repeat(64)),
            "invalid checksum digest format",
        );
        check(
            "md5:7e55db001d319a94b0b713529a756623",
            "unsupported digest algorithm",
        );
        check("??:7e", "invalid checksum digest format");
    }

    #[test]
    fn every_algorithm_is_computed_on_the_way() {
        for (name, hex) in [
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned()),
            ("sha384", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7".to_owned()),
            ("sha512", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f".to_owned()),
        ] {
            let expected: Checksum = format!("{name}:{hex}").parse().unwrap();
            let mut verifier = Verifier::new(Some(&expected));
            verifier.update(b"a");
            verifier.update(b"bc");
            let (digest, got) = verifier.finish();
            assert_eq!(got, expected);
            assert_eq!(digest, Digest::of(b"abc"));
        }
    }
}
