use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags, mkdirat};

use super::*;

fn open_dir(path: &Path) -> std::os::fd::OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Makes `depth` directories named `d`, one in the other.
fn nest(root: &Path, depth: usize) {
    let mut dir = open_dir(root);
    for _ in 0..depth {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap();
    }
}

#[test]
fn root_keeps_links_and_dots_inside() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(temp.path().join("secret"), "outside").unwrap();
    fs::write(root.join("secret"), "inside").unwrap();
    symlink("/secret", root.join("absolute")).unwrap();
    symlink("../../secret", root.join("dots")).unwrap();
    let root = Root::open(&root).unwrap();
    for path in ["secret", "/secret", "absolute", "dots", "../secret"] {
        let mut text = String::new();
        let mut file = root.open_file(Path::new(path)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside", "{path}");
    }
    assert!(root.open_file(Path::new("missing")).is_err());
    assert!(
        root.open_at(Path::new(""), OFlags::PATH, Mode::empty())
            .is_ok()
    );
}

#[test]
fn root_refuses_magic_links() {
    let root = Root::open(Path::new("/proc")).unwrap();
    let err = root.open_file(Path::new("self/exe")).unwrap_err();
    assert_eq!(err.source.raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn removal_does_not_follow_links() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    symlink(&outside, tree.join("a/link")).unwrap();
    symlink(&outside, temp.path().join("top")).unwrap();
    remove_tree(&tree).unwrap();
    remove_tree(&temp.path().join("top")).unwrap();
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
    assert!(outside.join("kept").exists());
}

#[test]
fn removal_copes_with_depth() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    nest(&tree, 5_000);
    fs::write(tree.join("d/d/d/file"), "x").unwrap();
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn removal_copes_with_many_files_and_forbidding_modes() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("closed/inner")).unwrap();
    for i in 0..3_000 {
        fs::write(tree.join(format!("closed/{i}")), "").unwrap();
    }
    for dir in ["closed/inner", "closed"] {
        fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(0o0)).unwrap();
    }
    remove_at(open_dir(temp.path()), "tree".as_ref()).unwrap();
    assert!(!tree.exists());
}

#[test]
fn descent_comes_back_through_closed_levels() {
    let temp = tempfile::tempdir().unwrap();
    nest(temp.path(), 300);
    let mut descent = Descent::new(open_dir(temp.path()));
    for _ in 0..300 {
        descent.enter(c"d").unwrap();
    }
    assert!(descent.enter(c"d").is_err());
    for depth in (0..300).rev() {
        descent.leave().unwrap();
        assert_eq!(descent.depth(), depth);
        let mut names = 0;
        descent.names(&mut |_, _| names += 1).unwrap();
        assert_eq!(names, 1);
    }
}

#[test]
fn descent_notices_a_moved_directory() {
    let temp = tempfile::tempdir().unwrap();
    nest(temp.path(), 100);
    let mut descent = Descent::new(open_dir(temp.path()));
    for _ in 0..100 {
        descent.enter(c"d").unwrap();
    }
    let deep = temp.path().join(vec!["d"; 20].join("/"));
    fs::rename(deep, temp.path().join("moved")).unwrap();
    let mut climb = || (0..100).try_for_each(|_| descent.leave());
    assert!(climb().is_err());
}

#[test]
fn locks_exclude_each_other() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("lock");
    let held = Lock::exclusive(&path).unwrap();
    assert!(Lock::try_exclusive(&path).unwrap().is_none());
    drop(held);
    let first = Lock::shared(&path).unwrap();
    let second = Lock::shared(&path).unwrap();
    assert!(Lock::try_exclusive(&path).unwrap().is_none());
    drop((first, second));
    assert!(Lock::try_exclusive(&path).unwrap().is_some());
}

#[test]
fn replacing_leaves_the_new_bytes_only() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    replace(&path, b"old and long").unwrap();
    replace(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    let err = replace(&temp.path().join("no/file"), b"").unwrap_err();
    assert!(err.to_string().starts_with("cannot create"));
}

#[test]
fn a_published_file_is_whole_and_follows_links() {
    let temp = tempfile::tempdir().unwrap();
    let (file, link) = (temp.path().join("file"), temp.path().join("link"));
    symlink("file", &link).unwrap();
    fs::write(&file, "old").unwrap();
    publish(&link, b"new").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // Readable for whom the umask lets read, unlike the store's own files.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = u32::from_str_radix(umask.unwrap().trim(), 8).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o666 & !umask);
    // What is no file is written to; a directory is refused.
    publish(Path::new("/dev/null"), b"gone").unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    assert!(publish(temp.path(), b"").is_err());
    assert!(publish(&temp.path().join("missing/file"), b"").is_err());
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}
