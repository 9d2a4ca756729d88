//! `debian:bookworm` as a file, and whether package registries can be reached.
//!
//! The file is the archive or root file system that `RBUILD_TEST_DEBIAN` names, or
//! else what debootstrap makes: once, kept among the build's temporary files.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::run_other;

/// Where Debian is fetched from, unless `RBUILD_TEST_MIRROR` names another place.
const MIRROR: &str = "http://deb.debian.org/debian";
/// The other parts of a Debian 12, as official images have them.
const FURTHER: &str = "deb http://deb.debian.org/debian bookworm-updates main\n\
    deb http://deb.debian.org/debian-security bookworm-security main\n";
const DEBOOTSTRAP: &str = "/usr/sbin/debootstrap";

fn variable(name: &str) -> Option<String> {
    std::env::vars_os()
        .find(|(own, _)| own == name)
        .and_then(|(_, value)| value.into_string().ok())
}

/// The file; made now if there is none.
pub(crate) fn debian_base() -> Result<PathBuf, String> {
    static BASE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BASE.get_or_init(|| match variable("RBUILD_TEST_DEBIAN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => bootstrapped(),
    })
    .clone()
}

/// Where Debian is fetched from.
pub(crate) fn mirror() -> String {
    variable("RBUILD_TEST_MIRROR").unwrap_or_else(|| MIRROR.to_owned())
}

fn bootstrapped() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = place.join("debian-bookworm.tar");
    if file.exists() {
        return Ok(file);
    }
    let told = |err: std::io::Error| err.to_string();
    let work = tempfile::tempdir_in(place).map_err(told)?;
    let tree = work.path().join("tree");
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is no text");
    let mirror = mirror();
    let tree_text = text(&tree)?;
    let arguments = ["--variant=minbase", "bookworm", &tree_text, &mirror];
    run_other(DEBOOTSTRAP, &arguments);
    let apt = tree.join("etc/apt");
    let sources = format!("deb {mirror} bookworm main\n{FURTHER}");
    std::fs::write(apt.join("sources.list"), sources).map_err(told)?;
    // A machine whose clock or mirror is special has told its own apt so.
    for entry in std::fs::read_dir("/etc/apt/apt.conf.d").map_err(told)? {
        let entry = entry.map_err(told)?;
        if entry.file_name().to_string_lossy().starts_with("99") {
            let target = apt.join("apt.conf.d").join(entry.file_name());
            std::fs::copy(entry.path(), target).map_err(told)?;
        }
    }
    for cache in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        std::fs::remove_dir_all(tree.join(cache)).map_err(told)?;
        std::fs::create_dir(tree.join(cache)).map_err(told)?;
    }
    let made = work.path().join("base.tar");
    let made_text = text(&made)?;
    run_other(
        "tar",
        &["--numeric-owner", "-C", &tree_text, "-cf", &made_text, "."],
    );
    // Whole or not there, whoever else is doing the same.
    std::fs::rename(made, &file).map_err(told)?;
    Ok(file)
}

/// Why there is no `debian:bookworm`.
pub(super) fn lacking() -> Option<String> {
    let there = variable("RBUILD_TEST_DEBIAN").is_some() || Path::new(DEBOOTSTRAP).exists();
    (!there).then(|| "needs debootstrap, or RBUILD_TEST_DEBIAN with an archive".to_owned())
}

/// Where packages come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registry {
    /// apt's.
    Debian,
    /// cargo's.
    Crates,
    /// npm's.
    Npm,
    /// pip's.
    Pypi,
}

/// Whether all of `registries` can be reached. When one cannot, the test says that
/// it is skipped and why. That is no failure in a full run either: it says
/// nothing of this program.
#[must_use]
pub(crate) fn reachable(registries: &[Registry]) -> bool {
    let Some(why) = registries.iter().find_map(|one| unreachable(*one)) else {
        return true;
    };
    println!("skipped: {why}");
    false
}

fn unreachable(registry: Registry) -> Option<String> {
    let address = match registry {
        Registry::Debian => "deb.debian.org:80",
        Registry::Crates => "index.crates.io:443",
        Registry::Npm => "registry.npmjs.org:443",
        Registry::Pypi => "pypi.org:443",
    };
    let addresses = match address.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(err) => return Some(format!("cannot find {address}: {err}")),
    };
    let mut last = format!("{address} has no address");
    for one in addresses {
        match TcpStream::connect_timeout(&one, Duration::from_secs(10)) {
            Ok(_) => return None,
            Err(err) => last = format!("cannot reach {address}: {err}"),
        }
    }
    Some(last)
}
