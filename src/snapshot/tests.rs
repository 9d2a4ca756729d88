use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::oci::{DiffId, Digest};
use crate::store::{Paths, SnapshotState};

struct Temp {
    dir: tempfile::TempDir,
    store: Store,
}

impl std::ops::Deref for Temp {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Temp {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(paths).unwrap();
        Self { dir, store }
    }

    fn layer(&self, parent: Option<SnapshotId>, files: &[(&str, &str)]) -> SnapshotId {
        let active = Active::begin(self, parent).unwrap();
        for (path, text) in files {
            let path = active.fs().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        active.commit(0, None, None).unwrap().id
    }

    /// How many directories of snapshots there are.
    fn directories(&self) -> usize {
        fs::read_dir(self.paths().snapshots()).unwrap().count()
    }

    /// Makes everything old, and its process a dead one.
    fn abandon(&self) {
        let index = self.dir.path().join("data/index.sqlite");
        let db = rusqlite::Connection::open(index).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(9)).unwrap();
        db.execute_batch(
            "UPDATE snapshots SET created_at = 1, started = started + 1;
             UPDATE layer_blobs SET stored_at = 1, started = started + 1;
             UPDATE pins SET started = started + 1;",
        )
        .unwrap();
        for blob in fs::read_dir(self.paths().blobs()).unwrap() {
            let file = fs::File::open(blob.unwrap().path()).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn diff_ids(tars: &[Vec<u8>]) -> Vec<DiffId> {
    tars.iter().map(|tar| DiffId(Digest::of(tar))).collect()
}

fn ensure(
    store: &Store,
    diff_ids: &[DiffId],
    tars: &[Vec<u8>],
) -> Result<Option<SnapshotId>, ChainError> {
    ensure_chain(store, diff_ids, &mut |index| {
        let tar: Box<dyn Read + Send> = Box::new(Cursor::new(tars[index].clone()));
        Ok(tar)
    })
}

#[test]
fn an_active_snapshot_that_is_dropped_leaves_nothing() {
    let store = Temp::new();
    let active = Active::begin(&store, None).unwrap();
    let id = active.id();
    assert_eq!(fs::metadata(active.fs()).unwrap().mode() & 0o7777, 0o755);
    assert!(active.work().is_dir());
    fs::create_dir_all(active.work().join("work")).unwrap();
    fs::set_permissions(active.work().join("work"), fs::Permissions::from_mode(0o0)).unwrap();
    drop(active);
    assert_eq!(store.directories(), 0);
    assert_eq!(store.snapshot_get(id).unwrap(), None);
}

#[test]
fn a_committed_snapshot_is_a_layer() {
    let store = Temp::new();
    let base = store.layer(None, &[("a", "1")]);
    fs::set_permissions(layer_dir(&store, base), fs::Permissions::from_mode(0o1711)).unwrap();
    let active = Active::begin(&store, Some(base)).unwrap();
    assert_eq!(fs::metadata(active.fs()).unwrap().mode() & 0o7777, 0o1711);
    let row = active.commit(5, None, None).unwrap();
    assert_eq!(
        (row.state, row.bytes, row.depth),
        (SnapshotState::Committed, 5, 2)
    );
    let dirs = layer_dirs(&store, Some(row.id)).unwrap();
    assert_eq!(dirs, [layer_dir(&store, row.id), layer_dir(&store, base)]);
    assert!(!dirs[0].with_file_name("work").exists());
    assert_eq!(layer_dirs(&store, None).unwrap(), Vec::<PathBuf>::new());
    assert!(layer_dirs(&store, Some(SnapshotId(99))).is_err());
}

#[test]
fn an_opaque_root_ends_the_stack() {
    let store = Temp::new();
    let base = store.layer(None, &[("a", "1")]);
    let top = store.layer(Some(base), &[("b", "2")]);
    let name = if rustix::process::geteuid().is_root() {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    };
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(layer_dir(&store, top), name, b"y", flags).unwrap();
    assert_eq!(layer_dirs(&store, Some(top)).unwrap().len(), 1);
    let view = View::open(&store, Some(top)).unwrap();
    assert_eq!(view.list(Path::new("")).unwrap(), ["b"]);
}

#[test]
fn a_chain_is_unpacked_once() {
    let store = Temp::new();
    let tars = [
        tar_of(&[("etc/a", "1"), ("etc/b", "22")]),
        tar_of(&[("etc/.wh.a", ""), ("etc/c", "3")]),
    ];
    let diff_ids = diff_ids(&tars);
    let top = ensure(&store, &diff_ids, &tars).unwrap().unwrap();
    let view = View::open(&store, Some(top)).unwrap();
    assert_eq!(view.list(Path::new("etc")).unwrap(), ["b", "c"]);
    assert_eq!(store.snapshot_get(top).unwrap().unwrap().bytes, 1);
    let nothing: &[Vec<u8>] = &[];
    assert_eq!(ensure(&store, &diff_ids, nothing).unwrap(), Some(top));
    assert_eq!(ensure(&store, &[], nothing).unwrap(), None);
    // Another layer on the same base.
    let third = tar_of(&[("x", "")]);
    let other = [tars[0].clone(), third];
    ensure(&store, &super::tests::diff_ids(&other), &other).unwrap();
    assert_eq!(store.directories(), 3);
}

#[test]
fn two_who_need_the_same_chain_share_the_work() {
    let store = Temp::new();
    let tars: Vec<Vec<u8>> = (0..3).map(|i| tar_of(&[("f", &i.to_string())])).collect();
    let diff_ids = diff_ids(&tars);
    let opened = AtomicUsize::new(0);
    let tops: Vec<Option<SnapshotId>> = std::thread::scope(|scope| {
        let work = || {
            ensure_chain::<ChainError>(&store, &diff_ids, &mut |index| {
                opened.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(20));
                Ok(Box::new(Cursor::new(tars[index].clone())))
            })
            .unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(tops.iter().all(|top| *top == tops[0] && top.is_some()));
    assert_eq!((opened.into_inner(), store.directories()), (3, 3));
}

#[test]
fn a_layer_that_is_not_what_was_promised_leaves_nothing() {
    let store = Temp::new();
    let tars = [tar_of(&[("a", "")]), tar_of(&[("b", "")])];
    let mut diff_ids = diff_ids(&tars);
    diff_ids[1] = diff_ids[0];
    let err = ensure(&store, &diff_ids, &tars).unwrap_err();
    assert!(matches!(err, ChainError::WrongDiffId { index: 1, .. }));
    let cut = [tars[0].clone(), tars[1][..700].to_vec()];
    let err = ensure(&store, &diff_ids, &cut).unwrap_err();
    assert!(
        matches!(err, ChainError::Unpack { index: 1, .. }),
        "{err:?}"
    );
    assert_eq!(store.directories(), 1);
}

#[test]
fn a_tree_that_was_lost_comes_back_under_what_lies_on_it() {
    let store = Temp::new();
    let tars = [tar_of(&[("a", "1")])];
    let diff_ids = diff_ids(&tars);
    let first = ensure(&store, &diff_ids, &tars).unwrap().unwrap();
    let top = store.layer(Some(first), &[("b", "2")]);
    fs::remove_dir_all(layer_dir(&store, first)).unwrap();
    assert_eq!(ensure(&store, &diff_ids, &tars).unwrap(), Some(first));
    let view = View::open(&store, Some(top)).unwrap();
    assert_eq!(view.list(Path::new("")).unwrap(), ["a", "b"]);
    assert_eq!(store.directories(), 2);
}

#[test]
fn tree_digests_know_everything_but_times() {
    let store = Temp::new();
    let files = [("d/f", "1"), ("g", "2")];
    let digest = |change: &dyn Fn(&Path)| {
        let id = store.layer(None, &files);
        change(&layer_dir(&store, id));
        let digest = tree_digest(&store, id).unwrap();
        assert_eq!(store.snapshot_get(id).unwrap().unwrap().tree, Some(digest));
        assert_eq!(tree_digest(&store, id).unwrap(), digest);
        digest
    };
    let touch = |dir: &Path| {
        let file = fs::File::open(dir.join("g")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    let plain = digest(&|_| {});
    assert_eq!(digest(&touch), plain);
    let changes: [&dyn Fn(&Path); 6] = [
        &|dir| fs::write(dir.join("g"), "3").unwrap(),
        &|dir| fs::set_permissions(dir.join("g"), fs::Permissions::from_mode(0o600)).unwrap(),
        &|dir| fs::rename(dir.join("g"), dir.join("h")).unwrap(),
        &|dir| fs::hard_link(dir.join("g"), dir.join("h")).unwrap(),
        &|dir| std::os::unix::fs::symlink("g", dir.join("h")).unwrap(),
        &|dir| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(dir.join("g"), "user.x", b"", flags).unwrap();
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_ne!(digest(change), plain, "{index}");
    }
}

#[test]
fn bytes_are_counted_once_a_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::create_dir(dir.join("a/empty")).unwrap();
    fs::write(dir.join("a/b/c/one"), "12345").unwrap();
    fs::write(dir.join("two"), "123").unwrap();
    fs::hard_link(dir.join("two"), dir.join("a/three")).unwrap();
    std::os::unix::fs::symlink("a/b/c/one", dir.join("link")).unwrap();
    assert_eq!(tree_bytes(dir).unwrap(), 8);
}

#[test]
fn collecting_takes_what_nothing_reaches() {
    let store = Temp::new();
    let base = store.layer(None, &[("a", "1")]);
    store.layer(Some(base), &[("b", "2")]);
    let orphan = Active::begin(&store, Some(base)).unwrap();
    fs::write(orphan.fs().join("x"), "").unwrap();
    fs::write(store.paths().tmp().join("1.1.dead"), "12345").unwrap();
    fs::create_dir(store.paths().snapshots().join("4711")).unwrap();
    fs::write(store.blob_path(Digest::of(b"x")), "123").unwrap();
    // Everything is young and its process alive, but for the temporary file
    // and the directory that no row knows.
    assert_eq!(collect(&store).unwrap(), 5);
    assert_eq!(store.directories(), 3);
    assert!(store.blob_exists(Digest::of(b"x")));
    store.abandon();
    assert!(store.pin(base).unwrap());
    assert_eq!(collect(&store).unwrap(), 3);
    assert_eq!(store.directories(), 1);
    assert!(!store.blob_exists(Digest::of(b"x")));
    store.abandon();
    collect(&store).unwrap();
    assert_eq!(store.directories(), 0);
    assert_eq!(store.snapshot_list().unwrap(), []);
    drop(orphan);
}

#[test]
fn one_layer_stands_on_several_parents() {
    let store = Temp::new();
    let base = store.layer(None, &[("a", "1"), ("d/x", "old")]);
    fs::set_permissions(layer_dir(&store, base), fs::Permissions::from_mode(0o711)).unwrap();
    let other = store.layer(None, &[("b", "2")]);
    let layer = store.layer(None, &[("d/x", "new")]);
    let diff = (DiffId(Digest::of(b"tar")), 7);
    store.snapshot_set_diff(layer, diff.0, diff.1).unwrap();
    let first = restack(&store, Some(base), layer).unwrap();
    let second = restack(&store, Some(other), first.id).unwrap();
    for row in [&first, &second] {
        assert_eq!(row.layer, Some(layer));
        assert_eq!(row.diff_id.zip(row.tar_size), Some(diff));
        let file = layer_dir(&store, row.id).join("d/x");
        assert_eq!(fs::metadata(file).unwrap().nlink(), 1);
    }
    assert!(second.chain_id.is_none() && first.depth == 2);
    // Between itself, a layer shows as the upper one; the root is the parent's.
    let between = store.layer(Some(first.id), &[("d/x", "between")]);
    let twice = restack(&store, Some(between), layer).unwrap();
    let dirs = layer_dirs(&store, Some(twice.id)).unwrap();
    assert_eq!(dirs, [layer, between, base].map(|id| layer_dir(&store, id)));
    let view = View::open(&store, Some(twice.id)).unwrap();
    let read = |path| view.read(Path::new(path), 9).unwrap().unwrap();
    assert_eq!((read("d/x"), read("a")), (b"new".to_vec(), b"1".to_vec()));
    let root = crate::layer::Lower::entry(&view, Path::new("")).unwrap();
    assert_eq!(root.unwrap().mode & 0o777, 0o711);
    let above = Active::begin(&store, Some(twice.id)).unwrap();
    assert_eq!(above.fs().metadata().unwrap().mode() & 0o777, 0o711);
    drop(above);
    // It is held by those that have its content, and goes with the last of them.
    store.abandon();
    assert!(store.pin(second.id).unwrap());
    collect(&store).unwrap();
    assert!(layer_dir(&store, second.id).join("d/x").exists());
    assert_eq!(store.directories(), 3);
    store.abandon();
    collect(&store).unwrap();
    assert_eq!(store.directories(), 0);
    assert!(restack(&store, None, layer).is_err());
}
