//! The archive that the kernel unpacks as its first root file system.
//!
//! Source: the kernel's driver-api/early-userspace/buffer-format.

use std::io::Write;

/// An archive while it is made, in the `newc` form of cpio.
#[derive(Debug, Default)]
pub(super) struct Initrd {
    bytes: Vec<u8>,
    files: u32,
}

impl Initrd {
    /// Appends a directory.
    pub(super) fn dir(&mut self, path: &str) {
        self.append(path, 0o040_755, &[]);
    }

    /// Appends a program.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.append(path, 0o100_755, content);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.append("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn append(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.files += 1;
        let (name, size) = (path.len() + 1, content.len());
        // Number, mode, owner, group, links, time, size, device, special device, name, check.
        let fields = [
            self.files,
            mode,
            0,
            0,
            1,
            0,
            to_u32(size),
            0,
            0,
            0,
            0,
            to_u32(name),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            write!(self.bytes, "{field:08x}").unwrap();
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("files of this size only")
}
