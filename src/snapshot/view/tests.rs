use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{CWD, XattrFlags, makedev, mknodat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::*;

/// Layer directories in the making, bottom first.
struct Stack {
    temp: tempfile::TempDir,
    layers: Vec<PathBuf>,
}

impl Stack {
    fn new(layers: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..layers)
            .map(|i| temp.path().join(i.to_string()))
            .collect();
        for layer in &layers {
            fs::create_dir(layer).unwrap();
        }
        Self { temp, layers }
    }

    fn path(&self, layer: usize, path: &str) -> PathBuf {
        let path = self.layers[layer].join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, layer: usize, path: &str, text: &str) -> &Self {
        fs::write(self.path(layer, path), text).unwrap();
        self
    }

    fn link(&self, layer: usize, path: &str, target: &str) -> &Self {
        symlink(target, self.path(layer, path)).unwrap();
        self
    }

    fn dir(&self, layer: usize, path: &str) -> &Self {
        fs::create_dir_all(self.path(layer, path)).unwrap();
        self
    }

    fn whiteout(&self, layer: usize, path: &str) -> &Self {
        let kind = FileType::CharacterDevice;
        let path = self.path(layer, path);
        mknodat(CWD, path, kind, Mode::RUSR, makedev(0, 0)).unwrap();
        self
    }

    fn opaque(&self, layer: usize, path: &str) -> &Self {
        self.dir(layer, path);
        let name = if rustix::process::geteuid().is_root() {
            "trusted.overlay.opaque"
        } else {
            "user.overlay.opaque"
        };
        let path = self.layers[layer].join(path);
        rustix::fs::setxattr(path, name, b"y", XattrFlags::empty()).unwrap();
        self
    }

    fn view(&self) -> View {
        View::of_layers(self.layers.iter().rev().cloned().collect())
    }
}

fn names(view: &View, path: &str) -> Vec<String> {
    let names = view.list(Path::new(path)).unwrap().into_iter();
    names.map(|name| name.into_string().unwrap()).collect()
}

fn text(view: &View, path: &str) -> Option<String> {
    let bytes = view.read(Path::new(path), 100).unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn upper_entries_win_and_directories_merge() {
    let stack = Stack::new(2);
    stack.file(0, "d/a", "lower").file(0, "d/b", "lower");
    stack.file(1, "d/b", "upper").file(1, "d/c", "upper");
    let view = stack.view();
    assert_eq!(names(&view, "d"), ["a", "b", "c"]);
    assert_eq!(text(&view, "d/a").unwrap(), "lower");
    assert_eq!(text(&view, "/d/./b").unwrap(), "upper");
    let found = view.locate(Path::new("d/b")).unwrap();
    assert_eq!(found, Some(stack.layers[1].join("d/b")));
}

#[test]
fn whiteouts_hide_one_name_in_every_lower_layer() {
    let stack = Stack::new(3);
    stack
        .file(0, "d/a", "")
        .file(1, "d/a", "")
        .file(0, "d/b", "");
    stack.whiteout(2, "d/a");
    let view = stack.view();
    assert_eq!(names(&view, "d"), ["b"]);
    assert_eq!(view.entry(Path::new("d/a")).unwrap(), None);
    assert_eq!(view.kind(Path::new("d/a")).unwrap(), None);
    assert_eq!(view.locate(Path::new("d/a")).unwrap(), None);
    assert_eq!(text(&view, "d/a"), None);
}

#[test]
fn a_removed_directory_that_comes_back_is_empty() {
    let stack = Stack::new(3);
    stack
        .file(0, "d/old", "")
        .whiteout(1, "d")
        .file(2, "d/new", "");
    assert_eq!(names(&stack.view(), "d"), ["new"]);
    let stack = Stack::new(2);
    stack
        .file(0, "d/old", "")
        .opaque(1, "d")
        .file(1, "d/new", "");
    let view = stack.view();
    assert_eq!(names(&view, "d"), ["new"]);
    let entry = view.entry(Path::new("d")).unwrap().unwrap();
    assert_eq!(entry.kind, EntryKind::Directory { opaque: false });
    assert_eq!(entry.xattrs, []);
}

#[test]
fn files_hide_directories_and_the_other_way_round() {
    let stack = Stack::new(3);
    stack
        .file(0, "x/deep", "")
        .file(1, "x", "file")
        .file(2, "y", "");
    stack.dir(0, "y/z");
    let view = stack.view();
    assert_eq!(text(&view, "x").unwrap(), "file");
    assert_eq!(view.kind(Path::new("x/deep")).unwrap(), None);
    assert_eq!(view.kind(Path::new("y/z")).unwrap(), None);
    let err = view.list(Path::new("x")).unwrap_err();
    assert_eq!(err.source.raw_os_error(), Some(libc::ENOTDIR));
    let err = view.list(Path::new("missing")).unwrap_err();
    assert_eq!(err.source.raw_os_error(), Some(libc::ENOENT));
    let stack = Stack::new(3);
    stack
        .file(0, "x/deep", "")
        .file(1, "x", "")
        .file(2, "x/new", "");
    assert_eq!(names(&stack.view(), "x"), ["new"]);
}

#[test]
fn links_are_followed_inside_the_merged_tree() {
    let stack = Stack::new(2);
    stack
        .file(0, "real/file", "content")
        .link(1, "abs", "/real");
    stack
        .link(1, "dir/rel", "../../../real/file")
        .link(1, "chain", "abs/file");
    stack
        .link(1, "gone", "nowhere/at/all")
        .link(1, "usr/up", "..");
    let view = stack.view();
    let check = |path, last, expected| {
        let got = view.resolve(Path::new(path), last).unwrap();
        assert_eq!(got, Path::new(expected), "{path}");
    };
    check("abs/file", false, "real/file");
    check("abs", false, "abs");
    check("abs", true, "real");
    check("dir/rel", true, "real/file");
    check("chain", true, "real/file");
    check("gone/x", false, "nowhere/at/all/x");
    check("new/../abs/file", false, "real/file");
    check("usr/up/abs/file", false, "real/file");
    check("/../..", true, "");
    check("", true, "");
    assert_eq!(text(&view, "/chain").unwrap(), "content");
    assert_eq!(text(&view, "gone"), None);
}

#[test]
fn endless_links_end_with_an_error() {
    let stack = Stack::new(1);
    stack
        .link(0, "a", "b")
        .link(0, "b", "a")
        .link(0, "self", "self/x");
    stack.link(0, "grow", &"grow/".repeat(100));
    let view = stack.view();
    for (path, expected) in [
        ("a", libc::ELOOP),
        ("self/y", libc::ELOOP),
        ("grow/y", libc::ENAMETOOLONG),
    ] {
        let err = view.resolve(Path::new(path), true).unwrap_err();
        assert_eq!(err.source.raw_os_error(), Some(expected), "{path}");
    }
}

#[test]
fn content_never_leads_outside_of_a_layer() {
    let stack = Stack::new(2);
    fs::write(stack.temp.path().join("secret"), "outside").unwrap();
    let outside = stack.temp.path().to_str().unwrap().to_owned();
    stack.link(0, "out", &outside).link(1, "up", "../..");
    let view = stack.view();
    for path in ["out/secret", "up/secret", "../secret", "up/0/../../secret"] {
        assert_eq!(text(&view, path), None, "{path}");
    }
    assert!(view.entry(Path::new("../secret")).is_err());
    assert_eq!(view.entry(Path::new("out/secret")).unwrap(), None);
    assert!(view.open(Path::new("out")).is_err());
}

#[test]
fn entries_carry_owner_mode_time_and_attributes() {
    let stack = Stack::new(1);
    stack.file(0, "f", "1234567");
    let path = stack.layers[0].join("f");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4711)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    for (name, value) in [("user.b", b"2".as_slice()), ("user.a", &[7; 3_000])] {
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).unwrap();
    }
    let entry = stack.view().entry(Path::new("f")).unwrap().unwrap();
    let size = 7;
    assert_eq!(
        entry.kind,
        EntryKind::File {
            size,
            content: None
        }
    );
    assert_eq!((entry.mode, entry.mtime), (0o4711, 1));
    let expected = [
        ("user.a".to_owned(), vec![7; 3_000]),
        ("user.b".to_owned(), b"2".to_vec()),
    ];
    assert_eq!(entry.xattrs, expected);
    assert_eq!(entry.path, Path::new("f"));
}

#[test]
fn pipes_and_devices_are_not_opened() {
    let stack = Stack::new(1);
    let path = stack.path(0, "pipe");
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let view = stack.view();
    assert_eq!(view.kind(Path::new("pipe")).unwrap(), Some(EntryKind::Fifo));
    assert!(view.open(Path::new("pipe")).is_err());
    assert!(view.read(Path::new("pipe"), 1).is_err());
    assert!(view.open(Path::new("")).is_err());
}

#[test]
fn reading_stops_at_the_limit() {
    let stack = Stack::new(1);
    stack.file(0, "f", "0123456789");
    let bytes = stack.view().read(Path::new("f"), 4).unwrap();
    assert_eq!(bytes.as_deref(), Some(b"0123".as_slice()));
}

#[test]
fn an_empty_stack_has_nothing() {
    let view = View::of_layers(Vec::new());
    assert_eq!(view.entry(Path::new("")).unwrap(), None);
    assert_eq!(view.entry(Path::new("a/b")).unwrap(), None);
    assert_eq!(
        view.resolve(Path::new("/a/../b"), true).unwrap(),
        Path::new("b")
    );
    assert_eq!(view.list(Path::new("")).unwrap(), Vec::<OsString>::new());
}

#[test]
fn wide_trees_and_high_stacks_stay_within_the_descriptors() {
    let stack = Stack::new(300);
    for layer in 0..300 {
        stack.file(layer, &format!("d{}/e/f{layer}", layer % 7), "");
    }
    for dir in 0..1_000 {
        stack.file(0, &format!("wide/{dir}/f"), "x");
    }
    let view = stack.view();
    for round in 0..2 {
        for dir in 0..7 {
            let expected = (0..300).filter(|layer| layer % 7 == dir).count();
            assert_eq!(
                names(&view, &format!("d{dir}/e")).len(),
                expected,
                "{round}"
            );
        }
        for dir in 0..1_000 {
            let path = format!("wide/{dir}/f");
            assert!(view.kind(Path::new(&path)).unwrap().is_some());
        }
        let mut open = 0;
        for fd in fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            open += usize::from(target.starts_with(stack.temp.path()));
        }
        assert!(open < 250, "{open} descriptors");
    }
}

/// What the kernel shows of the stack: the same layers under overlayfs, in a
/// mount that is attached nowhere and goes with its descriptor.
fn mount(stack: &Stack) -> Option<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    let dirs: Vec<&str> = stack
        .layers
        .iter()
        .rev()
        .map(|l| l.to_str().unwrap())
        .collect();
    rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir", dirs.join(":")).unwrap();
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Some(rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::empty()).unwrap())
}

fn walk_mount(dir: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir.join(path)).unwrap() {
        let entry = entry.unwrap();
        let path = path.join(entry.file_name());
        // A directory that one layer alone makes is listed with its whiteouts.
        if entry.metadata().is_err() {
            continue;
        }
        let shown = match entry.file_type().unwrap() {
            kind if kind.is_dir() => {
                walk_mount(dir, &path, found);
                "directory".to_owned()
            }
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(entry.path()).unwrap()),
            _ => fs::read_to_string(entry.path()).unwrap(),
        };
        found.insert(path, shown);
    }
}

fn walk_view(view: &View, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for name in view.list(path).unwrap() {
        let path = path.join(name);
        let shown = match view.entry(&path).unwrap().unwrap().kind {
            EntryKind::Directory { .. } => {
                walk_view(view, &path, found);
                "directory".to_owned()
            }
            EntryKind::Symlink(target) => format!("{target:?}"),
            _ => text(view, path.to_str().unwrap()).unwrap(),
        };
        found.insert(path, shown);
    }
}

#[test]
fn any_stack_looks_as_overlayfs_shows_it() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..60 {
        let stack = Stack::new(4);
        for layer in 0..4 {
            for _ in 0..25 {
                let depth = 1 + random(3);
                let parts: Vec<String> = (0..depth).map(|_| random(3).to_string()).collect();
                let path = parts.join("/");
                let full = stack.layers[layer].join(&path);
                let blocked = full
                    .ancestors()
                    .skip(1)
                    .any(|up| up.is_symlink() || up.exists() && !up.is_dir());
                if blocked || full.symlink_metadata().is_ok() {
                    continue;
                }
                match random(6) {
                    0 => stack.whiteout(layer, &path),
                    1 => stack.opaque(layer, &path),
                    2 => stack.dir(layer, &path),
                    3 => stack.link(layer, &path, &random(3).to_string()),
                    _ => stack.file(layer, &path, &format!("{layer}")),
                };
            }
        }
        let Some(mount) = mount(&stack) else {
            println!("skipped: overlayfs cannot be mounted here");
            return;
        };
        let (mut want, mut got) = (BTreeMap::new(), BTreeMap::new());
        let dir = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mount));
        walk_mount(Path::new(&dir), Path::new(""), &mut want);
        walk_view(&stack.view(), Path::new(""), &mut got);
        assert_eq!(got, want, "round {round}");
    }
}
