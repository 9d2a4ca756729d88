//! A Debian with systemd on a disk: made by debootstrap once, kept among the
//! build's temporary files.

use std::path::{Path, PathBuf};

use crate::support::{debian_mirror, run_other};

/// Changes with what is kept.
const KEPT: &str = "vm-debian-1.ext4";
const BYTES: &str = "600M";

/// The disk; made now if there is none.
pub(super) fn disk() -> PathBuf {
    let above = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let disk = above.join(KEPT);
    if disk.exists() {
        return disk;
    }
    let work = tempfile::tempdir_in(above).unwrap();
    let beneath = |name: &str| work.path().join(name).display().to_string();
    let (tree, made) = (beneath("tree"), beneath("disk"));
    run_other(
        "debootstrap",
        &[
            "--variant=minbase",
            "--include=systemd,systemd-sysv",
            "bookworm",
            &tree,
            &debian_mirror(),
        ],
    );
    std::fs::create_dir(format!("{tree}/debian")).unwrap();
    run_other(
        "rm",
        &[
            "-rf",
            &format!("{tree}/var/cache/apt"),
            &format!("{tree}/var/lib/apt/lists"),
        ],
    );
    run_other("mkfs.ext4", &["-q", "-d", &tree, &made, BYTES]);
    // Whole or not there, whoever else is doing the same.
    std::fs::rename(made, &disk).unwrap();
    disk
}
