//! Archives made by hand, honest and hostile.

use std::io::Write;

/// One entry, written as it is told and checked by nothing.
#[derive(Debug, Clone)]
pub(super) struct Item {
    kind: tar::EntryType,
    path: Vec<u8>,
    link: Vec<u8>,
    body: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
}

impl Item {
    fn new(kind: tar::EntryType, path: &str) -> Self {
        Self {
            kind,
            path: path.into(),
            link: Vec::new(),
            body: Vec::new(),
            mode: if kind.is_dir() { 0o755 } else { 0o644 },
            owner: (0, 0),
        }
    }

    pub(super) fn file(path: &str, body: &str) -> Self {
        let mut item = Self::new(tar::EntryType::Regular, path);
        item.body = body.into();
        item
    }

    pub(super) fn dir(path: &str) -> Self {
        Self::new(tar::EntryType::Directory, path)
    }

    pub(super) fn symlink(path: &str, target: &str) -> Self {
        let mut item = Self::new(tar::EntryType::Symlink, path);
        item.link = target.into();
        item
    }

    pub(super) fn hard_link(path: &str, first: &str) -> Self {
        let mut item = Self::new(tar::EntryType::Link, path);
        item.link = first.into();
        item
    }

    /// `/dev/null` under another name.
    pub(super) fn device(path: &str) -> Self {
        Self::new(tar::EntryType::Char, path)
    }

    pub(super) fn owned(mut self, mode: u32, uid: u64, gid: u64) -> Self {
        self.mode = mode;
        self.owner = (uid, gid);
        self
    }

    fn write(&self, tar: &mut tar::Builder<Vec<u8>>) {
        for (kind, name) in [(b'L', &self.path), (b'K', &self.link)] {
            if name.len() > 100 {
                let mut long = tar::Header::new_gnu();
                long.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
                long.set_entry_type(tar::EntryType::new(kind));
                long.set_size(name.len() as u64 + 1);
                long.set_cksum();
                let body = [name.as_slice(), b"\0"].concat();
                tar.append(&long, body.as_slice()).unwrap();
            }
        }
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        let cut = |bytes: &[u8]| bytes.len().min(100);
        fields.name[..cut(&self.path)].copy_from_slice(&self.path[..cut(&self.path)]);
        fields.linkname[..cut(&self.link)].copy_from_slice(&self.link[..cut(&self.link)]);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_000_000_000);
        header.set_size(self.body.len() as u64);
        if self.kind == tar::EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        tar.append(&header, self.body.as_slice()).unwrap();
    }
}

/// A plain tar of these entries.
pub(super) fn archive(items: &[Item]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for item in items {
        item.write(&mut tar);
    }
    tar.into_inner().unwrap()
}

/// The same bytes in every format that is understood, by name.
pub(super) fn compressed(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(plain).unwrap();
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    xz.write_all(plain).unwrap();
    vec![
        ("tar", plain.to_vec()),
        ("gz", gzip.finish().unwrap()),
        ("bz2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zst", zstd::encode_all(plain, 1).unwrap()),
    ]
}
