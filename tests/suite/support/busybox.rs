//! `busybox:latest` made from the system's own statically linked busybox, as a
//! docker archive. Nothing is downloaded.

use std::path::{Path, PathBuf};

use rbuild::oci::Digest;
use serde_json::json;

/// Where distributions put it.
const PLACES: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    bin:x:2:2:bin:/bin:/bin/false\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\n\
    nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Finds a statically linked busybox.
pub(crate) fn find() -> Result<PathBuf, String> {
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    let path = found.ok_or("needs busybox (package busybox-static)")?;
    let bytes = std::fs::read(path).map_err(|err| format!("cannot read busybox: {err}"))?;
    if has_interpreter(&bytes) {
        return Err(format!(
            "`{}` is not statically linked (package busybox-static)",
            path.display()
        ));
    }
    Ok(path.to_owned())
}

/// Whether a 64-bit little-endian ELF file has a PT_INTERP program header.
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| {
        elf.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    let u32_at = |at: usize| {
        let bytes = elf.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let u64_at = |at: usize| {
        let bytes = elf.get(at..at + 8)?;
        usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let (Some(start), Some(length), Some(count)) = (u64_at(0x20), u16_at(0x36), u16_at(0x38))
    else {
        return false;
    };
    (0..usize::from(count))
        .any(|index| u32_at(start + index * usize::from(length)) == Some(PT_INTERP))
}

/// The applets that become commands; the usual ones of a busybox image.
const APPLETS: &str = "[ ar arping ash awk base64 basename bunzip2 bzcat bzip2 cat chgrp chmod chown \
    chroot chrt chvt cksum clear cmp comm cp cpio cut date dc dd df diff dirname dmesg dnsdomainname \
    du echo ed egrep env expand expr factor fallocate false fgrep find flock fold free fsync getopt \
    grep groups gunzip gzip head hexdump hostid hostname httpd id ifconfig install ionice ip kill \
    killall less link ln logger ls lsof md5sum mkdir mkfifo mknod mktemp more mount mountpoint mv nc \
    netstat nice nl nohup nproc nslookup od paste patch pgrep pidof ping ping6 pkill pmap printenv \
    printf ps pstree pwd readlink realpath renice reset resize rev rm rmdir route sed seq setsid sh \
    sha1sum sha256sum sha512sum shred shuf sleep sort split stat strings stty su sum sync sysctl tac \
    tail tar tee telnet test time timeout top touch tr traceroute true truncate tty umount uname \
    uniq unlink unxz unzip uptime usleep vi watch wc wget which who whoami xargs xxd xz xzcat yes zcat";

/// The archive, ready for `load`.
pub(crate) fn archive() -> Vec<u8> {
    let busybox = find().expect("the test asked for busybox first");
    let layer = layer(&std::fs::read(busybox).expect("it was just found"));
    let diff_id = Digest::of(&layer);
    let config = json!({
        "architecture": rbuild::oci::Platform::host().architecture,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox"}],
    });
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}/layer.tar", diff_id.hex());
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": ["busybox:latest"],
        "Layers": [layer_name],
    }]);
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, &config_name, 0o644, &config);
    append(&mut tar, &layer_name, 0o644, &layer);
    append(
        &mut tar,
        "manifest.json",
        0o644,
        manifest.to_string().as_bytes(),
    );
    tar.into_inner().expect("writing to memory")
}

fn layer(busybox: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (dir, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
        ("var/www", 0o755),
    ] {
        let mut header = header(mode, tar::EntryType::Directory);
        tar.append_data(&mut header, format!("{dir}/"), std::io::empty())
            .expect("writing to memory");
    }
    append(&mut tar, "bin/busybox", 0o755, busybox);
    for applet in APPLETS.split_whitespace() {
        let mut header = header(0o755, tar::EntryType::Link);
        tar.append_link(&mut header, format!("bin/{applet}"), "bin/busybox")
            .expect("writing to memory");
    }
    append(&mut tar, "etc/passwd", 0o644, PASSWD.as_bytes());
    append(&mut tar, "etc/group", 0o644, GROUP.as_bytes());
    tar.into_inner().expect("writing to memory")
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) {
    let mut header = header(mode, tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
        .expect("writing to memory");
}

fn header(mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(1_704_067_200);
    header
}
