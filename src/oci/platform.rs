//! Platforms: operating system, architecture and variant, in Go's spelling.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The CPU architecture, such as `amd64`.
    pub architecture: String,
    /// The operating system, such as `linux`.
    pub os: String,
    /// The CPU variant, such as `v7`; absent for the plain architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system's version; Windows uses it.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a platform: expected `os/arch[/variant]`, such as `linux/arm64`")]
pub struct ParsePlatformError(String);

impl Platform {
    /// The platform that this program runs on.
    pub fn host() -> Self {
        Self::normalised("linux", std::env::consts::ARCH, None)
    }

    /// A platform with the usual spellings of one architecture made one:
    /// `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, `arm` is `arm/v7`.
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant
            .map(str::to_ascii_lowercase)
            .filter(|v| !v.is_empty());
        let (architecture, variant) = match (
            architecture.to_ascii_lowercase().as_str(),
            variant.as_deref(),
        ) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".to_owned(), None),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64".to_owned(), v.map(str::to_owned)),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".to_owned(), None),
            ("aarch64" | "arm64", v) => ("arm64".to_owned(), v.map(str::to_owned)),
            ("armhf", None) | ("arm", None | Some("7")) => {
                ("arm".to_owned(), Some("v7".to_owned()))
            }
            ("armel", None) | ("arm", Some("6")) => ("arm".to_owned(), Some("v6".to_owned())),
            ("x86" | "i386" | "i686", v) => ("386".to_owned(), v.map(str::to_owned)),
            (other, v) => (other.to_owned(), v.map(str::to_owned)),
        };
        Self {
            architecture,
            os,
            variant,
            os_version: None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePlatformError(text.to_owned());
        if text.eq_ignore_ascii_case("local") {
            return Ok(Self::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let good = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(good) {
            return Err(wrong());
        }
        match parts.as_slice() {
            ["linux" | "Linux" | "windows" | "darwin" | "freebsd"] => Ok(Self {
                os: parts[0].to_ascii_lowercase(),
                ..Self::host()
            }),
            [arch] => Ok(Self::normalised("linux", arch, None)),
            [os, arch] => Ok(Self::normalised(os, arch, None)),
            [os, arch, variant] => Ok(Self::normalised(os, arch, Some(variant))),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(
            text.parse::<Platform>().unwrap().to_string(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn spellings_are_normalised() {
        check("linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
        check("arm64", "linux/arm64");
        assert!("linux//x".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
    }
}
