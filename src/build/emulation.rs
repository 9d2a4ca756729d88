//! Whether commands of another platform can run here.
//!
//! The kernel starts programs of another processor through an emulator that is
//! registered with binfmt_misc. It must be registered with the flag `F`, which
//! makes the kernel open the emulator at once: inside a step's root it is not there.
//!
//! Source: Linux, Documentation/admin-guide/binfmt-misc.rst.

use std::path::Path;

use crate::oci::Platform;

/// Where the kernel tells what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";
/// Largest description that is read.
const LIMIT: usize = 4 << 10;

/// Why a command cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot run commands of `{platform}` on `{}`: {why}", Platform::host())]
pub(super) struct EmulationError {
    platform: Box<Platform>,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("only Linux programs run here")]
    System,
    #[error("no emulator is registered")]
    Missing,
    #[error("the emulator `{0}` is registered without the flag F")]
    NotFixed(String),
}

impl EmulationError {
    fn new(platform: &Platform, why: Why) -> Self {
        Self {
            platform: Box::new(platform.clone()),
            why,
        }
    }

    /// What to do.
    pub(super) fn hint(&self) -> Option<String> {
        let architecture = &self.platform.architecture;
        (self.why != Why::System).then(|| {
            format!(
                "install the package `qemu-user-static` (it registers its emulators with the flag F), \
                 or run `docker run --privileged --rm tonistiigi/binfmt --install {architecture}`; \
                 stages that begin with `FROM --platform=$BUILDPLATFORM` need no emulator"
            )
        })
    }
}

/// Makes sure that commands of `platform` can run here.
pub(super) fn check(platform: &Platform) -> Result<(), EmulationError> {
    let host = Platform::host();
    if platform.os != host.os {
        return Err(EmulationError::new(platform, Why::System));
    }
    if is_native(&host, platform) {
        return Ok(());
    }
    look(platform, Path::new(REGISTERED))
}

/// Whether the processor itself runs it: its own kind, in its own or a smaller word.
fn is_native(host: &Platform, platform: &Platform) -> bool {
    match (host.architecture.as_str(), platform.architecture.as_str()) {
        (own, other) if own == other => own != "arm" || host.variant >= platform.variant,
        // Every processor of the one kind runs the other; a kernel may refuse, which
        // then shows in the step.
        ("amd64", "386") => true,
        _ => false,
    }
}

fn look(platform: &Platform, registered: &Path) -> Result<(), EmulationError> {
    let missing = || EmulationError::new(platform, Why::Missing);
    let header = elf_header(&platform.architecture).ok_or_else(missing)?;
    let mut fixed = Err(missing());
    let Ok(entries) = std::fs::read_dir(registered) else {
        return fixed;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "register" || name == "status" {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        let text: String = text.chars().take(LIMIT).collect();
        match Registration::parse(&text) {
            Some(one) if one.enabled && one.fits(&header) && one.fixed => return Ok(()),
            Some(one) if one.enabled && one.fits(&header) => {
                fixed = Err(EmulationError::new(platform, Why::NotFixed(name)));
            }
            _ => {}
        }
    }
    fixed
}

/// One file of the kernel's.
#[derive(Debug, Default)]
struct Registration {
    enabled: bool,
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registration {
    fn parse(text: &str) -> Option<Self> {
        let mut found = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "enabled" => found.enabled = true,
                "flags:" => found.fixed = value.contains('F'),
                "offset" => found.offset = value.trim().parse().ok()?,
                "magic" => found.magic = hex(value.trim())?,
                "mask" => found.mask = hex(value.trim())?,
                _ => {}
            }
        }
        (!found.magic.is_empty()).then_some(found)
    }

    /// Whether the kernel would take a program that begins like this for one of its own.
    fn fits(&self, header: &[u8]) -> bool {
        let all = std::iter::repeat(&0xff);
        let mask = self.mask.iter().chain(all);
        let own = self.magic.iter().zip(mask);
        // What lies beyond the header may be anything.
        let theirs = header.iter().skip(self.offset);
        own.zip(theirs)
            .all(|((magic, mask), byte)| magic & mask == byte & mask)
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// How a program of this architecture begins.
///
/// Source: System V ABI, "ELF Header"; machine numbers from linux/elf-em.h.
fn elf_header(architecture: &str) -> Option<[u8; 20]> {
    const B32: u8 = 1;
    const B64: u8 = 2;
    const LITTLE: u8 = 1;
    const BIG: u8 = 2;
    let (class, order, machine): (u8, u8, u16) = match architecture {
        "386" => (B32, LITTLE, 3),
        "amd64" => (B64, LITTLE, 62),
        "arm" => (B32, LITTLE, 40),
        "arm64" => (B64, LITTLE, 183),
        "loong64" => (B64, LITTLE, 258),
        "mips64" => (B64, BIG, 8),
        "mips64le" => (B64, LITTLE, 8),
        "ppc64" => (B64, BIG, 21),
        "ppc64le" => (B64, LITTLE, 21),
        "riscv64" => (B64, LITTLE, 243),
        "s390x" => (B64, BIG, 22),
        _ => return None,
    };
    let mut header = [0; 20];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    let number = |value: u16| {
        if order == BIG {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    header[16..18].copy_from_slice(&number(2));
    header[18..].copy_from_slice(&number(machine));
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\n\
        offset 0\nmagic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";
    const PPC64: &str = "enabled\ninterpreter /usr/bin/qemu-ppc64\nflags: F\noffset 0\n\
        magic 7f454c4602020100000000000000000000020015\n\
        mask ffffffffffffff00fffffffffffffffffffeffff\n";

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn look_at(text: &str, files: &[(&str, &str)]) -> Result<(), EmulationError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("status"), "enabled\n").unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        look(&platform(text), dir.path())
    }

    #[test]
    fn an_emulator_is_found_by_what_it_takes() {
        let all = [("qemu-aarch64", ARM64), ("x", PPC64)];
        assert_eq!(look_at("linux/arm64", &all), Ok(()));
        assert_eq!(look_at("linux/ppc64", &all), Ok(()));
        for other in [
            "linux/ppc64le",
            "linux/arm/v7",
            "linux/s390x",
            "linux/unheard",
        ] {
            let err = look_at(other, &all).unwrap_err();
            assert_eq!(err.why, Why::Missing, "{other}");
        }
    }

    #[test]
    fn an_emulator_must_be_open_already_and_enabled() {
        let plain = ARM64.replace("POCF", "POC");
        let err = look_at("linux/arm64", &[("qemu-aarch64", &plain)]).unwrap_err();
        assert!(err.to_string().contains("`qemu-aarch64`"), "{err}");
        assert!(err.hint().unwrap().contains("--install arm64"));
        let disabled = ARM64.replace("enabled", "disabled");
        let err = look_at("linux/arm64", &[("qemu-aarch64", &disabled)]).unwrap_err();
        assert_eq!(err.why, Why::Missing);
    }

    #[test]
    fn smaller_words_of_the_same_processor_are_native() {
        let native = |host: &str, other: &str| is_native(&platform(host), &platform(other));
        assert!(native("linux/amd64", "linux/386"));
        assert!(native("linux/amd64", "linux/amd64/v3"));
        assert!(native("linux/arm/v7", "linux/arm/v6"));
        assert!(!native("linux/arm/v6", "linux/arm/v7"));
        assert!(!native("linux/amd64", "linux/arm64"));
    }
}
