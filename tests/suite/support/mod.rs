//! What the tests stand on: data roots of their own, the program under test, a
//! base image, and honest reports of what was skipped.

#![allow(
    dead_code,
    unused_imports,
    reason = "what registries can be asked to do is more than the tests of one area need"
)]

mod browser;
mod busybox;
mod certificates;
mod debian;
mod docker;
mod guard;
mod home;
mod http;
mod numbers;
mod registry;
mod relay;
mod s3;
mod schema;
mod seat;
mod terminal;
mod tokens;
mod typing;
mod web;

pub(crate) use browser::Browser;
pub(crate) use busybox::{archive as busybox_archive, find as busybox_program};
pub(crate) use certificates::Certificates;
pub(crate) use debian::{Registry, debian_base, mirror as debian_mirror, reachable};
pub(crate) use docker::Docker;
pub(crate) use home::{Home, Outcome, finish};
pub(crate) use http::{Answer, Asked, HttpServer};
pub(crate) use numbers::Numbers;
pub(crate) use registry::{PASSWORD, RegistryServer, USER};
pub(crate) use relay::{Cut, Relay, Traffic, Tunnel};
pub(crate) use s3::{BUCKET, KEY as S3_KEY, S3Server};
pub(crate) use schema::assert_fits;
pub(crate) use seat::Seat;
pub(crate) use terminal::Terminal;
pub(crate) use tokens::{Grant, REFRESH, TokenServer};
pub(crate) use typing::SIZE as TERMINAL_SIZE;
pub(crate) use web::{Page, Repository, Web};

/// Something of the machine that a test cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// The user is root.
    Root,
    /// A statically linked busybox is installed.
    Busybox,
    /// The kernel mounts overlayfs, on the file system of temporary files too.
    Overlay,
    /// skopeo, which reads and writes images, is installed.
    Skopeo,
    /// git, which fetches repositories, is installed.
    Git,
    /// Chromium, which shows pages, is installed.
    Chromium,
    /// docker-registry, a registry to talk to, is installed, and openssl, which
    /// makes its certificates.
    DockerRegistry,
    /// s3rver of npm, which speaks S3's protocol, is installed.
    S3Server,
    /// docker and dockerd, which pull and push images, or apt-get to fetch them.
    Docker,
    /// podman, which pulls and pushes images, is installed.
    Podman,
    /// qemu, which is a machine, is installed, and what fetches and unpacks a kernel for it.
    Qemu,
    /// crun and runc, which run containers, are installed.
    Runtimes,
    /// debootstrap, which makes a Debian, is installed, and what puts it on a disk.
    Debootstrap,
    /// debootstrap is installed, or an archive of `debian:bookworm` is named.
    Debian,
}

/// Whether the machine has all of `needs`. When it lacks one, the test says
/// that it is skipped and why; with `CI=true` that is a failure, so that a full
/// run never passes by skipping.
#[must_use]
pub(crate) fn needs(needs: &[Need]) -> bool {
    let Some(why) = needs.iter().find_map(|need| lacking(*need)) else {
        return true;
    };
    let ci = std::env::vars_os().any(|(name, value)| name == "CI" && value == "true");
    assert!(!ci, "skipped, which CI forbids: {why}");
    println!("skipped: {why}");
    false
}

/// Runs another program, which has to succeed, and returns what it printed.
#[allow(
    clippy::disallowed_methods,
    reason = "another program's opinion is what the test asks for"
)]
#[track_caller]
pub(crate) fn run_other(program: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).output().expect("it is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

/// The same with bytes on its standard input.
#[allow(
    clippy::disallowed_methods,
    reason = "another program's opinion is what the test asks for"
)]
#[track_caller]
pub(crate) fn run_piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is installed");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(input).expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("it is our child");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

fn lacking(need: Need) -> Option<String> {
    match need {
        Need::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
        Need::Busybox => busybox::find().err(),
        Need::Git => {
            let found = rbuild::sys::command::find("git", None).is_some();
            (!found).then(|| "needs git".to_owned())
        }
        Need::Chromium => Browser::find().err(),
        Need::DockerRegistry => installed(&["docker-registry", "openssl"]),
        Need::S3Server => installed(&["s3rver"]),
        Need::Docker => docker::lacking(),
        Need::Runtimes => installed(&["crun", "runc"]),
        Need::Podman => installed(&["podman"]),
        Need::Debootstrap => installed(&["debootstrap", "mkfs.ext4"]),
        Need::Qemu => installed(&["qemu-system-x86_64", "apt-get", "dpkg-deb", "strip"]),
        Need::Skopeo => {
            let places = ["/usr/bin/skopeo", "/usr/local/bin/skopeo"];
            let found = places
                .iter()
                .any(|path| std::path::Path::new(path).exists());
            (!found).then(|| "needs skopeo".to_owned())
        }
        Need::Debian => debian::lacking(),
        Need::Overlay => {
            let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
            if !known
                .lines()
                .any(|line| line.trim_end().ends_with("overlay"))
            {
                return Some("the kernel has no overlayfs".to_owned());
            }
            home::overlay_probe().err()
        }
    }
}

/// Which of these programs is missing, if one is.
fn installed(programs: &[&str]) -> Option<String> {
    let missing = |program: &&&str| rbuild::sys::command::find(program, None).is_none();
    let program = programs.iter().find(missing)?;
    Some(format!("needs {program}"))
}
