//! The bytes of a canonical tar header.
//!
//! These are a promise: diff IDs are made of them. A member is one ustar header
//! with numeric owners, empty user and group names and an empty prefix. What a
//! field cannot hold stands in PAX records before it, sorted by key, and then
//! the field is cut (names) or zero (numbers):
//!
//! | record | when |
//! |---|---|
//! | `path`, `linkpath` | longer than 100 bytes, a directory's final slash included |
//! | `size` | from 8 GiB on |
//! | `uid`, `gid` | from 2,097,152 on |
//! | `mtime` | before 1970 or from 8,589,934,592 on |
//! | `SCHILY.xattr.NAME` | always; left out when NAME holds `=`, which ends a key |
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block".

use std::io;
use std::os::unix::ffi::OsStrExt;

use super::{Entry, EntryKind};

/// The unit of a tar in bytes.
pub(super) const BLOCK: usize = 512;

/// Most that eleven octal digits say.
const LONG_OCTAL: u64 = (1 << 33) - 1;
/// Most that seven octal digits say.
const SHORT_OCTAL: u64 = (1 << 21) - 1;
/// Bytes of a name or link name.
const NAME: usize = 100;

/// What enters a header. Unlike an [`Entry`] it knows no whiteouts.
#[derive(Debug)]
struct Fields<'a> {
    path: &'a [u8],
    link: &'a [u8],
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: (u32, u32),
}

/// Appends the headers of `entry` to `out`, with `mtime` for its time. A
/// directory's path gets a final slash.
pub(super) fn write(entry: &Entry, mtime: i64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut path = entry.path.as_os_str().as_bytes().to_vec();
    let mut link: &[u8] = b"";
    let mut size = 0;
    let mut device = (0, 0);
    let kind = match &entry.kind {
        EntryKind::File { size: length, .. } => {
            size = *length;
            b'0'
        }
        EntryKind::HardLink(target) => {
            link = target.as_os_str().as_bytes();
            b'1'
        }
        EntryKind::Symlink(target) => {
            link = target.as_os_str().as_bytes();
            b'2'
        }
        EntryKind::CharDevice { major, minor } => {
            device = (*major, *minor);
            b'3'
        }
        EntryKind::BlockDevice { major, minor } => {
            device = (*major, *minor);
            b'4'
        }
        EntryKind::Directory { .. } => {
            path.push(b'/');
            b'5'
        }
        EntryKind::Fifo => b'6',
        EntryKind::Whiteout => return write_marker(&path, out),
    };
    let fields = Fields {
        path: &path,
        link,
        kind,
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        size,
        mtime,
        device,
    };
    let records = records(&fields, &entry.xattrs);
    if !records.is_empty() {
        write_records(&records, out)?;
    }
    write_ustar(&fields, out)
}

/// Appends the header of an empty file that stands for a whiteout or an opaque
/// directory: mode, owner and time are all zero.
pub(super) fn write_marker(path: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let fields = Fields {
        path,
        link: b"",
        kind: b'0',
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        device: (0, 0),
    };
    let records = records(&fields, &[]);
    if !records.is_empty() {
        write_records(&records, out)?;
    }
    write_ustar(&fields, out)
}

/// The PAX records that the fields and attributes need, sorted by key.
fn records(fields: &Fields<'_>, xattrs: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| records.push((key.to_owned(), value));
    if fields.path.len() > NAME {
        add("path", fields.path.to_vec());
    }
    if fields.link.len() > NAME {
        add("linkpath", fields.link.to_vec());
    }
    if fields.size > LONG_OCTAL {
        add("size", fields.size.to_string().into_bytes());
    }
    if u64::from(fields.uid) > SHORT_OCTAL {
        add("uid", fields.uid.to_string().into_bytes());
    }
    if u64::from(fields.gid) > SHORT_OCTAL {
        add("gid", fields.gid.to_string().into_bytes());
    }
    if u64::try_from(fields.mtime).map_or(true, |mtime| mtime > LONG_OCTAL) {
        add("mtime", fields.mtime.to_string().into_bytes());
    }
    for (name, value) in xattrs {
        if !name.contains('=') {
            add(&format!("SCHILY.xattr.{name}"), value.clone());
        }
    }
    records.sort_unstable();
    records
}

fn write_records(records: &[(String, Vec<u8>)], out: &mut Vec<u8>) -> io::Result<()> {
    let mut body = Vec::new();
    for (key, value) in records {
        // A blank, `=` and a line feed, and the length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    let fields = Fields {
        path: b"././@PaxHeader",
        link: b"",
        kind: b'x',
        mode: 0,
        uid: 0,
        gid: 0,
        size: body.len() as u64,
        mtime: 0,
        device: (0, 0),
    };
    write_ustar(&fields, out)?;
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

fn write_ustar(fields: &Fields<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut block = [0; BLOCK];
    let cut = |name: &[u8], field: &mut [u8]| {
        let length = name.len().min(NAME);
        field[..length].copy_from_slice(&name[..length]);
    };
    let within = |number: u64, most: u64| if number > most { 0 } else { number };
    cut(fields.path, &mut block[..100]);
    octal(fields.mode.into(), &mut block[100..108]);
    octal(within(fields.uid.into(), SHORT_OCTAL), &mut block[108..116]);
    octal(within(fields.gid.into(), SHORT_OCTAL), &mut block[116..124]);
    octal(within(fields.size, LONG_OCTAL), &mut block[124..136]);
    let mtime = u64::try_from(fields.mtime).unwrap_or(0);
    octal(within(mtime, LONG_OCTAL), &mut block[136..148]);
    block[148..156].fill(b' ');
    block[156] = fields.kind;
    cut(fields.link, &mut block[157..257]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = fields.device;
    if u64::from(major.max(minor)) > SHORT_OCTAL {
        return Err(io::Error::other("a device number does not fit a tar"));
    }
    octal(major.into(), &mut block[329..337]);
    octal(minor.into(), &mut block[337..345]);
    let sum = block.iter().map(|&byte| u64::from(byte)).sum();
    // Six digits, NUL, and the blank that is there already.
    octal(sum, &mut block[148..155]);
    out.extend_from_slice(&block);
    Ok(())
}

/// Fills `field` with octal digits and a final NUL.
fn octal(mut number: u64, field: &mut [u8]) {
    if let Some((end, digits)) = field.split_last_mut() {
        *end = 0;
        for digit in digits.iter_mut().rev() {
            // Three bits, so the cast loses nothing.
            *digit = b'0' + u8::try_from(number & 7).unwrap_or(0);
            number >>= 3;
        }
    }
}
