//! Packing and unpacking against each other, against fixed bytes, and against
//! archives that mean harm.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr,
    utimensat,
};

use super::*;
use crate::fs::{At, PathError};
use crate::oci::Digest;

/// Whether the machine lets us own files of others and make devices.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn whiteout(path: &Path) {
    let kind = FileType::CharacterDevice;
    mknodat(CWD, path, kind, Mode::empty(), makedev(0, 0)).unwrap();
}

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn pack(dir: &Path) -> (Packed, Vec<u8>) {
    let mut tar = Vec::new();
    let packed = pack_tree(dir, PackOptions::default(), &mut tar).unwrap();
    assert_eq!(packed.diff_id.0, Digest::of(&tar));
    assert_eq!(packed.size, tar.len() as u64);
    (packed, tar)
}

fn layer() -> UnpackOptions {
    UnpackOptions {
        limits: Limits::default(),
        whiteouts: true,
    }
}

/// What is in a layer directory, one line an entry.
fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk_tree::<PathError>(dir, &mut |entry, file| {
        let path = entry.path.display();
        let line = match &entry.kind {
            EntryKind::File { .. } => {
                let mut text = String::new();
                file.unwrap().read_to_string(&mut text).at("read", dir)?;
                format!("{path} = {text}")
            }
            EntryKind::Directory { opaque: false } => format!("{path}/"),
            EntryKind::Directory { opaque: true } => format!("{path}/ opaque"),
            EntryKind::Symlink(target) => format!("{path} -> {}", target.display()),
            EntryKind::HardLink(target) => format!("{path} == {}", target.display()),
            EntryKind::Whiteout => format!("{path} removed"),
            EntryKind::Fifo => format!("{path} fifo"),
            EntryKind::CharDevice { major, minor } => format!("{path} c {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("{path} b {major}:{minor}"),
        };
        lines.push(line);
        Ok(())
    })
    .unwrap();
    lines
}

/// A lower tree of plain files, links (`-> target`) and directories (`/`).
#[derive(Default)]
struct FakeLower {
    entries: BTreeMap<PathBuf, Entry>,
    dir: Option<tempfile::TempDir>,
}

impl FakeLower {
    fn new(entries: &[(&str, EntryKind)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("content"), "lower").unwrap();
        let entry = |(path, kind): &(&str, EntryKind)| Entry {
            path: path.into(),
            kind: kind.clone(),
            mode: 0o4750,
            uid: 7,
            gid: 8,
            mtime: 99,
            xattrs: vec![("user.lower".to_owned(), b"yes".to_vec())],
        };
        let by_path = |item: &(&str, EntryKind)| (item.0.into(), entry(item));
        Self {
            entries: entries.iter().map(by_path).collect(),
            dir: Some(dir),
        }
    }
}

impl Lower for FakeLower {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        Ok(self.entries.get(path).cloned())
    }

    fn open(&self, path: &Path) -> Result<fs::File, PathError> {
        let content = self.dir.as_ref().map(|dir| dir.path().join("content"));
        fs::File::open(content.unwrap_or_default()).at("open", path)
    }
}

const DIRECTORY: EntryKind = EntryKind::Directory { opaque: false };
const FILE: EntryKind = EntryKind::File {
    size: 5,
    content: None,
};

/// A tar written without any of the care that our own writer takes.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn member(mut self, kind: u8, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.as_old_mut().linkflag = [kind];
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(5);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.member(b'0', path, "", content.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.member(b'5', path, "", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.member(b'1', path, target, b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.member(b'2', path, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    fn unpack_onto(self, lower: &dyn Lower) -> Result<Vec<String>, UnpackError> {
        unpack_bytes(&self.end(), lower, layer())
    }

    fn unpack(self) -> Result<Vec<String>, UnpackError> {
        self.unpack_onto(&NoLower)
    }
}

/// Unpacks into a directory beside a file that must stay as it is.
fn unpack_bytes(
    tar: &[u8],
    lower: &dyn Lower,
    options: UnpackOptions,
) -> Result<Vec<String>, UnpackError> {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(temp.path().join("outside"), "untouched").unwrap();
    let result = unpack(&mut &tar[..], &target, lower, options);
    let mut around: Vec<_> = fs::read_dir(temp.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    around.sort();
    assert_eq!(around, ["outside", "target"]);
    let outside = fs::metadata(temp.path().join("outside")).unwrap();
    assert_eq!((outside.len(), outside.nlink()), (9, 1));
    result.map(|unpacked| {
        assert_eq!(unpacked.diff_id.0, Digest::of(tar));
        assert_eq!(unpacked.size, tar.len() as u64);
        listing(&target)
    })
}

fn refused(result: Result<Vec<String>, UnpackError>) -> &'static str {
    match result.unwrap_err() {
        UnpackError::Entry { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// A layer with one of everything.
fn sample(root: &Path) {
    let long = "n".repeat(120);
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), "content").unwrap();
    fs::hard_link(root.join("dir/file"), root.join("dir/link")).unwrap();
    fs::write(root.join("dir").join(&long), "").unwrap();
    symlink(&long, root.join("dir/long-link")).unwrap();
    symlink("file", root.join("dir/symlink")).unwrap();
    fs::create_dir(root.join("opaque")).unwrap();
    set(&root.join("opaque"), "trusted.overlay.opaque", b"y");
    whiteout(&root.join("gone"));
    let fifo = root.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let null = root.join("null");
    let (kind, device) = (FileType::CharacterDevice, makedev(1, 3));
    mknodat(CWD, &null, kind, Mode::RUSR, device).unwrap();
    let odd = root.join(OsStr::from_bytes(b"odd \xff\n"));
    fs::write(&odd, vec![b'x'; 513]).unwrap();
    set(&odd, "user.note", b"a\nb\0");
    set(&odd, "user.overlay.origin", b"hidden");
    std::os::unix::fs::chown(&odd, Some(3_000_000), Some(1)).unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o4755)).unwrap();
    for name in [
        "dir",
        "dir/file",
        "dir/symlink",
        "dir/long-link",
        "opaque",
        "fifo",
        "null",
    ] {
        set_mtime(&root.join(name), 1_700_000_000);
    }
    set_mtime(&root.join("dir").join(&long), 0);
    set_mtime(&odd, -1);
    for (name, mode) in [("dir", 0o755), ("dir/file", 0o644), ("opaque", 0o1777)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let long = root.join("dir").join(&long);
    fs::set_permissions(long, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_bytes_of_a_layer_are_a_promise() {
    if !is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    sample(temp.path());
    let (packed, tar) = pack(temp.path());
    assert_eq!(
        packed.diff_id.to_string(),
        "sha256:58d98b560314e5b062910ad24e50220ff7e673b9a2b492552d7645a4215f16e5"
    );
    assert_eq!(packed.entries, 12);
    // Another reader sees what we meant.
    let mut archive = tar::Archive::new(&tar[..]);
    let seen: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            (path, entry.header().mtime().unwrap(), entry.size())
        })
        .collect();
    let time = 1_700_000_000;
    let long = format!("dir/{}", "n".repeat(120));
    let expected = [
        ("dir/", time, 0),
        ("dir/file", time, 7),
        ("dir/link", time, 0),
        ("dir/long-link", time, 0),
        (&long, 0, 0),
        ("dir/symlink", time, 0),
        ("fifo", time, 0),
        (".wh.gone", 0, 0),
        ("null", time, 0),
        ("odd \u{fffd}\n", 0, 513),
        ("opaque/", time, 0),
        ("opaque/.wh..wh..opq", 0, 0),
    ];
    let expected: Vec<_> = expected
        .map(|(path, time, size)| (path.to_owned(), time, size))
        .into();
    assert_eq!(seen, expected);
}

#[test]
fn a_layer_survives_packing_and_unpacking() {
    if !is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    sample(&from);
    let (packed, tar) = pack(&from);
    let unpacked = unpack(&mut &tar[..], &to, &NoLower, layer()).unwrap();
    assert_eq!(unpacked.diff_id, packed.diff_id);
    assert_eq!(unpacked.entries, packed.entries);
    assert!(!unpacked.opaque_root);
    assert_eq!(pack(&to).1, tar);
    assert_eq!(fs::metadata(to.join("dir/link")).unwrap().nlink(), 2);
}

#[test]
fn clamping_lowers_late_times_only() {
    let temp = tempfile::tempdir().unwrap();
    for (name, time) in [("early", 10), ("late", 1000)] {
        fs::write(temp.path().join(name), "").unwrap();
        set_mtime(&temp.path().join(name), time);
    }
    let options = PackOptions {
        plain_names: false,
        clamp_mtime: Some(500),
    };
    let mut tar = Vec::new();
    pack_tree(temp.path(), options, &mut tar).unwrap();
    let times = |offset: usize| std::str::from_utf8(&tar[offset + 136..offset + 147]).unwrap();
    assert_eq!((times(0), times(512)), ("00000000012", "00000000764"));
}

#[test]
fn numbers_and_names_at_the_edge_of_their_fields() {
    let entry = Entry {
        path: PathBuf::from("a/".repeat(49) + "bc"),
        kind: EntryKind::Symlink(PathBuf::from("l".repeat(100))),
        mode: 0o777,
        uid: 0o7_777_777,
        gid: 0o7_777_777,
        mtime: (1 << 33) - 1,
        xattrs: Vec::new(),
    };
    let pack = |entry: &Entry| {
        let mut packer = Packer::new(Vec::new(), PackOptions::default());
        packer.entry(entry, &mut io::empty()).unwrap();
        packer.finish().unwrap().1
    };
    assert_eq!(entry.path.as_os_str().len(), 100);
    assert_eq!(pack(&entry).len(), 3 * 512);
    let beyond = Entry {
        path: PathBuf::from("a/".repeat(49) + "bcd"),
        kind: EntryKind::Symlink(PathBuf::from("l".repeat(101))),
        uid: 0o10_000_000,
        gid: u32::MAX - 1,
        mtime: 1 << 33,
        xattrs: vec![("user.a".to_owned(), b"=\n".to_vec())],
        ..entry
    };
    let tar = pack(&beyond);
    assert!(tar.len() > 4 * 512);
    let mut tar = &tar[..];
    let mut reader = TarReader::new(&mut tar, Limits::default());
    assert_eq!(reader.next_entry().unwrap(), Some(beyond));
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn content_of_another_length_is_an_error() {
    let entry = Entry {
        path: PathBuf::from("a"),
        kind: FILE,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: Vec::new(),
    };
    for content in ["1234", "123456"] {
        let mut packer = Packer::new(io::sink(), PackOptions::default());
        assert!(packer.entry(&entry, &mut content.as_bytes()).is_err());
    }
    let reserved = Entry {
        path: PathBuf::from("d/.wh.a"),
        ..entry
    };
    let mut packer = Packer::new(io::sink(), PackOptions::default());
    assert!(packer.entry(&reserved, &mut &b"12345"[..]).is_err());
}

#[test]
fn an_empty_layer_has_no_entries() {
    let temp = tempfile::tempdir().unwrap();
    let (packed, tar) = pack(temp.path());
    assert_eq!((packed.entries, tar.len()), (0, 1024));
    assert_eq!(unpack_bytes(&tar, &NoLower, layer()).unwrap().len(), 0);
    // A stream without a single byte is what `tar` makes of nothing, too.
    assert_eq!(unpack_bytes(&[], &NoLower, layer()).unwrap().len(), 0);
}

#[test]
fn deep_trees_need_no_long_paths() {
    let name = "d".repeat(40);
    let temp = tempfile::tempdir().unwrap();
    let mut packer = Packer::new(Vec::new(), PackOptions::default());
    let mut path = PathBuf::new();
    for _ in 0..900 {
        path.push(&name);
        let entry = Entry {
            path: path.clone(),
            kind: DIRECTORY,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 1,
            xattrs: Vec::new(),
        };
        packer.entry(&entry, &mut io::empty()).unwrap();
    }
    let (packed, tar) = packer.finish().unwrap();
    unpack(&mut &tar[..], temp.path(), &NoLower, layer()).unwrap();
    if is_root() {
        assert_eq!(pack(temp.path()).0, packed);
    }
    crate::fs::remove_tree(&temp.path().join(&name)).unwrap();
}

#[test]
fn missing_parents_come_from_below() {
    if !is_root() {
        return;
    }
    let lower = FakeLower::new(&[("a", DIRECTORY), ("a/b", FILE)]);
    let temp = tempfile::tempdir().unwrap();
    let tar = Raw::default().file("a/b/c", "x").file("d/e", "y").end();
    unpack(&mut &tar[..], temp.path(), &lower, layer()).unwrap();
    let stat = |path: &str| {
        let metadata = fs::metadata(temp.path().join(path)).unwrap();
        (metadata.mode() & 0o7777, metadata.uid(), metadata.mtime())
    };
    assert_eq!(stat("a"), (0o4750, 7, 99));
    assert_eq!(stat("a/b"), (0o755, 0, 0));
    assert_eq!(stat("d"), (0o755, 0, 0));
    assert_eq!(stat("d/e"), (0o644, 0, 5));
}

#[test]
fn directories_keep_their_times() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Raw::default()
        .dir("a")
        .file("a/1", "")
        .dir("b")
        .file("a/2", "")
        .file("b/1", "")
        .dir("./")
        .file("c", "");
    unpack(&mut &tar.end()[..], temp.path(), &NoLower, layer()).unwrap();
    for path in ["a", "b", ""] {
        let metadata = fs::metadata(temp.path().join(path)).unwrap();
        assert_eq!(metadata.mtime(), 5, "{path}");
    }
}

#[test]
fn later_entries_win() {
    let check = |tar: Raw, expected: &[&str]| assert_eq!(tar.unpack().unwrap(), expected);
    check(Raw::default().file("a", "1").file("a", "2"), &["a = 2"]);
    check(Raw::default().file("a", "1").symlink("a", "x"), &["a -> x"]);
    check(
        Raw::default().dir("a").file("a/b", "1").dir("a/"),
        &["a/", "a/b = 1"],
    );
    check(
        Raw::default().dir("a").file("a/b", "1").file("a", "2"),
        &["a = 2"],
    );
    check(
        Raw::default().file("a", "1").link("b", "a").file("a", "2"),
        &["a = 2", "b = 1"],
    );
    check(Raw::default().file("a", "1").dir("a"), &["a/ opaque"]);
    check(Raw::default().member(0, "old/", "", b""), &["old/"]);
}

#[test]
fn whiteouts_hide_what_lies_beneath_only() {
    if !is_root() {
        return;
    }
    let check = |tar: Raw, expected: &[&str]| assert_eq!(tar.unpack().unwrap(), expected);
    check(Raw::default().file(".wh.a", ""), &["a removed"]);
    check(Raw::default().file("a", "1").file(".wh.a", ""), &["a = 1"]);
    check(Raw::default().file(".wh.a", "").file("a", "1"), &["a = 1"]);
    check(Raw::default().dir("a").file(".wh.a", ""), &["a/ opaque"]);
    check(Raw::default().file(".wh.a", "").dir("a"), &["a/ opaque"]);
    check(
        Raw::default().file(".wh.a", "").file("a/b", "1"),
        &["a/ opaque", "a/b = 1"],
    );
    check(
        Raw::default().file("a/b", "1").file("a/.wh..wh..opq", ""),
        &["a/ opaque", "a/b = 1"],
    );
    check(
        Raw::default().file("a/.wh..wh..opq", "").dir("a"),
        &["a/ opaque"],
    );
    check(Raw::default().file(".wh..wh.plnk", ""), &[]);
    check(Raw::default().member(b'3', "a", "", b""), &["a removed"]);
    check(Raw::default().file(".wh..wh..opq", ""), &["/ opaque"]);
    for path in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        assert_eq!(
            refused(Raw::default().file(path, "").unpack()),
            "it removes no name"
        );
    }
}

#[test]
fn archives_that_add_extracts_have_no_whiteouts() {
    let plain = UnpackOptions {
        whiteouts: false,
        ..layer()
    };
    let temp = tempfile::tempdir().unwrap();
    let tar = Raw::default()
        .file(".wh.a", "1")
        .file(".wh..wh..opq", "2")
        .end();
    unpack(&mut &tar[..], temp.path(), &NoLower, plain).unwrap();
    assert_eq!(fs::read(temp.path().join(".wh.a")).unwrap(), b"1");
    assert_eq!(fs::read(temp.path().join(".wh..wh..opq")).unwrap(), b"2");
    let device = Raw::default().member(b'3', "a", "", b"").end();
    refused(unpack_bytes(&device, &NoLower, plain));

    // Links of the image are followed, as in the merged tree.
    let lower = FakeLower::new(&[
        ("lib", EntryKind::Symlink("usr/lib".into())),
        ("usr", DIRECTORY),
        ("usr/lib", DIRECTORY),
    ]);
    let tar = Raw::default().file("lib/x", "1").end();
    let found = unpack_bytes(&tar, &lower, plain).unwrap();
    assert_eq!(found, ["usr/", "usr/lib/", "usr/lib/x = 1"]);
    let found = unpack_bytes(&tar, &lower, layer()).unwrap();
    assert_eq!(found, ["lib/", "lib/x = 1"]);
}

#[test]
fn hard_links_to_lower_files_copy_them_up() {
    if !is_root() {
        return;
    }
    let lower = || FakeLower::new(&[("a", DIRECTORY), ("a/b", FILE)]);
    let found = Raw::default()
        .link("c", "/a/b")
        .unpack_onto(&lower())
        .unwrap();
    assert_eq!(found, ["a/", "a/b = lower", "c == a/b"]);
    // The old name goes, as after a rename.
    let tar = Raw::default().link("c", "a/b").file("a/.wh.b", "");
    let found = tar.unpack_onto(&lower()).unwrap();
    assert_eq!(found, ["a/", "a/b removed", "c = lower"]);
    for hidden in [
        Raw::default().file(".wh.a", ""),
        Raw::default().file("a/.wh.b", ""),
        Raw::default().file("a/.wh..wh..opq", ""),
    ] {
        let result = hidden.link("c", "a/b").unpack_onto(&lower());
        assert_eq!(refused(result), "it links to nothing");
    }
}

#[test]
fn what_leaves_the_root_is_refused_or_kept_inside() {
    for path in ["../outside", "a/../../outside", "..", "/.."] {
        let why = refused(Raw::default().file(path, "bad").unpack());
        assert_eq!(why, "its path contains `..`", "{path}");
    }
    let why = refused(Raw::default().link("a", "../outside").unpack());
    assert_eq!(why, "its path contains `..`");
    assert_eq!(
        refused(Raw::default().link("a", "outside").unpack()),
        "it links to nothing"
    );
    assert_eq!(
        refused(Raw::default().link("a", "a").unpack()),
        "it links to itself"
    );
    assert_eq!(
        refused(Raw::default().dir("d").link("a", "d").unpack()),
        "it links to a directory"
    );
    assert_eq!(
        refused(Raw::default().link("a", "/").unpack()),
        "it links to the root"
    );

    let inside = Raw::default().file("/etc/x", "1").unpack().unwrap();
    assert_eq!(inside, ["etc/", "etc/x = 1"]);
    let up = Raw::default().symlink("a", "..").file("a/outside", "1");
    assert_eq!(up.unpack().unwrap(), ["a -> ..", "outside = 1"]);
    let climb = Raw::default().symlink("a", "/../../b").file("a/c", "1");
    assert_eq!(climb.unpack().unwrap(), ["a -> /../../b", "b/", "b/c = 1"]);
    let linked = Raw::default()
        .symlink("a", "/etc")
        .file("a/passwd", "1")
        .link("b", "a/passwd");
    let expected = ["a -> /etc", "b = 1", "etc/", "etc/passwd == b"];
    assert_eq!(linked.unpack().unwrap(), expected);
    // The link itself is replaced, never written through.
    let through = Raw::default().symlink("a", "../outside").file("a", "1");
    assert_eq!(through.unpack().unwrap(), ["a = 1"]);
    let circle = Raw::default()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", "");
    assert_eq!(
        refused(circle.unpack()),
        "too many symbolic links in its path"
    );
    let file = Raw::default().file("a", "").file("a/x", "");
    assert_eq!(
        refused(file.unpack()),
        "it is used as a directory, but is none"
    );
    assert!(Raw::default().file("", "").unpack().is_ok());
}

#[test]
fn unknown_and_sparse_members_are_refused() {
    let sparse = "sparse files are not supported";
    assert_eq!(
        refused(Raw::default().member(b'S', "a", "", b"").unpack()),
        sparse
    );
    let pax = Raw::default().member(b'x', "p", "", b"22 GNU.sparse.major=1\n");
    assert_eq!(refused(pax.file("a", "").unpack()), sparse);
    assert_eq!(
        refused(Raw::default().member(b'M', "a", "", b"").unpack()),
        "its kind is unknown"
    );
}

#[test]
fn other_writers_spellings_are_read() {
    let long = "l".repeat(150);
    let tar = Raw::default()
        .member(b'g', "g", "", b"11 mtime=7\n")
        .member(b'V', "label", "", b"")
        .member(b'L', "././@LongLink", "", format!("{long}\0").as_bytes())
        .member(b'K', "././@LongLink", "", b"target\0")
        .symlink("cut", "cut")
        .member(b'D', "dump", "", b"Yname\0\0")
        .file("z", "1");
    let temp = tempfile::tempdir().unwrap();
    unpack(&mut &tar.end()[..], temp.path(), &NoLower, layer()).unwrap();
    let expected = [
        "dump/".to_owned(),
        format!("{long} -> target"),
        "z = 1".to_owned(),
    ];
    assert_eq!(listing(temp.path()), expected);
    assert_eq!(fs::metadata(temp.path().join("z")).unwrap().mtime(), 7);
}

#[test]
fn bounds_hold() {
    let check = |limits: Limits, tar: Raw, what: &str| {
        let options = UnpackOptions { limits, ..layer() };
        match unpack_bytes(&tar.end(), &NoLower, options) {
            Err(UnpackError::TooMuch { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    };
    let limits = Limits::default();
    let few = Limits {
        entries: 2,
        ..limits
    };
    check(few, Raw::default().dir("a").dir("b").dir("c"), "entries");
    let small = Limits { bytes: 9, ..limits };
    check(
        small,
        Raw::default().file("a", "12345").file("b", "67890"),
        "bytes",
    );
    // What follows the end counts too.
    check(small, Raw(vec![0; 4096]), "bytes");
    let flat = Limits { depth: 3, ..limits };
    check(flat, Raw::default().file("a/b/c/d", ""), "path components");
    let deep = format!("{} path={}\n", 200_012, "a/".repeat(99_999) + "b");
    let deep = Raw::default()
        .member(b'x', "p", "", deep.as_bytes())
        .file("a", "");
    check(limits, deep, "path components");
}

#[test]
fn a_declared_size_allocates_nothing() {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().linkflag = [b'x'];
    header.set_size(1 << 32);
    header.set_cksum();
    let result = unpack_bytes(header.as_bytes(), &NoLower, layer());
    assert!(matches!(result, Err(UnpackError::Damaged(_))));
    let many = (0..9).fold(Raw::default(), |tar, _| tar.member(b'x', "p", "", b""));
    assert!(matches!(
        many.file("a", "").unpack(),
        Err(UnpackError::Damaged(_))
    ));
}

#[test]
fn damage_is_noticed_at_every_length() {
    let tar = Raw::default().file("a", "content").dir("b").end();
    let lengths = (1..tar.len()).filter(|length| length % 64 == 0 || length % 97 == 0);
    for length in lengths {
        let result = unpack_bytes(&tar[..length], &NoLower, layer());
        let is_whole = length % 512 == 0 && length != 512;
        assert_eq!(result.is_ok(), is_whole, "{length}");
    }
    for offset in [0, 100, 124, 148, 156, 257] {
        let mut tar = tar.clone();
        tar[offset] ^= 1;
        let result = unpack_bytes(&tar, &NoLower, layer());
        assert!(matches!(result, Err(UnpackError::Damaged(_))), "{offset}");
    }
    let mut lone = vec![0; 512];
    lone.extend(tar);
    assert!(unpack_bytes(&lone, &NoLower, layer()).is_err());
}

#[test]
fn many_entries_are_no_trouble() {
    let mut packer = Packer::new(Vec::new(), PackOptions::default());
    for i in 0..100_000 {
        let entry = Entry {
            path: PathBuf::from(format!("d/{i:06}")),
            kind: EntryKind::HardLink(PathBuf::from("d/000000")),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Vec::new(),
        };
        packer.entry(&entry, &mut io::empty()).unwrap();
    }
    let (_, tar) = packer.finish().unwrap();
    let mut tar = &tar[..];
    let mut reader = TarReader::new(&mut tar, Limits::default());
    while reader.next_entry().unwrap().is_some() {}
    assert_eq!(reader.finish().unwrap().entries, 100_000);
}

/// Makes one entry of a random tree; what cannot be made there is left out.
fn grow(root: &Path, names: &[u8], kind: u8, bits: u32) {
    let mut path = root.to_owned();
    for name in &names[..names.len() - 1] {
        path.push(format!("d{}", name % 4));
        drop(fs::create_dir(&path));
    }
    path.push(OsStr::from_bytes(&[
        b'a' + names[names.len() - 1] % 26,
        0x80 | bits.to_le_bytes()[0],
    ]));
    let mode = bits % 0o10000;
    match kind % 8 {
        0 => drop(fs::create_dir(&path)),
        1 => drop(symlink("x".repeat(1 + bits as usize % 130), &path)),
        2 => node(&path, FileType::CharacterDevice, (0, 0)),
        3 => node(&path, FileType::BlockDevice, (bits % 4000, bits % 77)),
        4 => node(&path, FileType::Fifo, (0, 0)),
        5 => drop(fs::hard_link(root.join("first"), &path)),
        _ => drop(fs::write(&path, vec![b'z'; bits as usize % 2000])),
    }
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return;
    };
    if metadata.is_dir() && bits & 1 == 1 {
        set(&path, "trusted.overlay.opaque", b"y");
    }
    if metadata.is_symlink() || (metadata.mode() & 0o170_000 == 0o020_000) {
        return;
    }
    drop(std::os::unix::fs::lchown(&path, Some(bits), Some(bits / 3)));
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    if (metadata.is_file() || metadata.is_dir()) && bits & 2 == 2 {
        set(&path, &format!("user.{}", bits % 7), &bits.to_ne_bytes());
    }
    set_mtime(&path, i64::from(bits.cast_signed()));
}

/// Makes a node unless something is there already.
fn node(path: &Path, kind: FileType, (major, minor): (u32, u32)) {
    let made = mknodat(CWD, path, kind, Mode::empty(), makedev(major, minor));
    assert!(made.is_ok() || path.symlink_metadata().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_tree_survives_packing_and_unpacking(
        entries in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..5), any::<u8>(), any::<u32>()),
            0..40,
        )
    ) {
        if is_root() {
            let temp = tempfile::tempdir().unwrap();
            let (from, to) = (temp.path().join("from"), temp.path().join("to"));
            fs::create_dir(&from).unwrap();
            fs::create_dir(&to).unwrap();
            fs::write(from.join("first"), "linked").unwrap();
            for (names, kind, bits) in &entries {
                grow(&from, names, *kind, *bits);
            }
            let (packed, tar) = pack(&from);
            let unpacked = unpack(&mut &tar[..], &to, &NoLower, layer()).unwrap();
            prop_assert_eq!(unpacked.diff_id, packed.diff_id);
            prop_assert_eq!(pack(&to).1, tar);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        blocks in prop::collection::vec((0..2048_usize, any::<u8>()), 0..12)
    ) {
        let mut tar = Raw::default()
            .member(b'x', "p", "", b"11 mtime=7\n12 path=abc\n")
            .file("a", "content")
            .end();
        for (offset, byte) in blocks {
            let offset = offset % tar.len();
            tar[offset] = byte;
            // So that the damage is looked at beyond the checksum.
            for header in [0, 1024] {
                let mut sum: u32 = tar[header..header + 512].iter().map(|&b| u32::from(b)).sum();
                sum -= tar[header + 148..header + 156].iter().map(|&b| u32::from(b)).sum::<u32>();
                let text = format!("{:06o}\0 ", sum + 8 * 32);
                tar[header + 148..header + 156].copy_from_slice(text.as_bytes());
            }
        }
        let mut tar = &tar[..];
        let mut reader = TarReader::new(&mut tar, Limits::default());
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}
