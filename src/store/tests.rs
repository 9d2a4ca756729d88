use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::oci::{CacheKey, ChainId, DiffId, Digest, ImageId, Reference};

/// A store of its own, removed at the end of the test.
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
        let store = Store::open(paths(&dir)).unwrap();
        Self { dir, store }
    }

    fn again(&self) -> Store {
        Store::open(paths(&self.dir)).unwrap()
    }

    fn sql(&self, sql: &str) {
        self.db().execute_batch(sql).unwrap();
    }

    /// Makes everything old enough to be collected.
    fn age(&self) {
        self.sql("UPDATE snapshots SET created_at = 1; UPDATE layer_blobs SET stored_at = 1");
    }

    /// Makes everything that belongs to this process belong to a dead one.
    fn orphan(&self) {
        for table in ["snapshots", "layer_blobs", "pins", "leases"] {
            self.sql(&format!("UPDATE {table} SET started = started + 1"));
        }
    }

    fn snapshot(&self, parent: Option<SnapshotId>, diff: Option<DiffId>) -> SnapshotId {
        let id = self.snapshot_begin(parent).unwrap();
        let diff = diff.map(|diff| (diff, 512));
        self.snapshot_commit(id, 7, diff, None).unwrap();
        id
    }

    fn blob(&self, bytes: &[u8]) -> Digest {
        let mut writer = self.blob_writer().unwrap();
        writer.write_all(bytes).unwrap();
        self.blob_finish(writer, None).unwrap().0
    }
}

fn paths(dir: &tempfile::TempDir) -> Paths {
    Paths::new(dir.path().join("data"), dir.path().join("run"))
}

fn diff(text: &str) -> DiffId {
    DiffId(Digest::of(text.as_bytes()))
}

fn key(text: &str) -> CacheKey {
    CacheKey(Digest::of(text.as_bytes()))
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn image(layers: &[DiffId], blobs: &[Digest]) -> ImageRow {
    let diff_ids: Vec<_> = layers.iter().map(ToString::to_string).collect();
    let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let descriptor =
        |digest: &Digest| serde_json::json!({"mediaType": "t", "digest": digest, "size": 1});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": descriptor(&Digest::of(b"")),
        "layers": blobs.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let (config, manifest) = (
        config.to_string().into_bytes(),
        manifest.to_string().into_bytes(),
    );
    ImageRow {
        id: ImageId(Digest::of(&config)),
        manifest_digest: Digest::of(&manifest),
        manifest,
        config,
        stored_at: 1,
    }
}

#[test]
fn opening_makes_the_tree_once() {
    let store = Temp::new();
    let stubs = store.paths().stubs();
    for (path, mode) in [("etc", 0o755), ("proc", 0o755), ("etc/hosts", 0o644)] {
        let metadata = fs::metadata(stubs.join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
        assert!(metadata.is_dir() || metadata.len() == 0);
    }
    let data = fs::metadata(store.paths().data()).unwrap();
    assert_eq!(data.permissions().mode() & 0o7777, 0o700);
    // The runtime directory is gone after a reboot.
    fs::remove_dir_all(store.paths().run()).unwrap();
    let again = store.again();
    assert!(again.paths().locks().is_dir());
}

#[test]
fn a_half_made_root_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(&dir);
    fs::create_dir(paths.data()).unwrap();
    fs::write(paths.index(), "").unwrap();
    let store = Store::open(paths).unwrap();
    assert!(store.paths().blobs().is_dir());
    assert_eq!(store.image_list().unwrap(), []);
}

#[test]
fn a_newer_root_is_refused() {
    let store = Temp::new();
    store.sql("PRAGMA user_version = 99");
    let err = Store::open(paths(&store.dir)).unwrap_err();
    assert!(matches!(err, Error::TooNew { found: 99, .. }), "{err}");
}

#[test]
fn many_open_a_new_root_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let paths = paths(&dir);
            scope.spawn(move || {
                let store = Store::open(paths).unwrap();
                let id = store.snapshot_begin(None).unwrap();
                store.snapshot_commit(id, i, None, None).unwrap();
            });
        }
    });
    let store = Store::open(paths(&dir)).unwrap();
    assert_eq!(store.snapshot_list().unwrap().len(), 8);
}

#[test]
fn blobs_are_kept_once_and_checked() {
    let store = Temp::new();
    let digest = store.blob(b"hello");
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(store.blob(b"hello"), digest);
    assert_eq!(fs::read(store.blob_path(digest)).unwrap(), b"hello");

    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    assert_eq!(writer.len(), 5);
    let err = store.blob_finish(writer, Some(digest)).unwrap_err();
    assert!(matches!(err, Error::Damaged { want, .. } if want == digest));
    drop(store.blob_writer().unwrap());
    assert_eq!(fs::read_dir(store.paths().tmp()).unwrap().count(), 0);

    store.blob_remove(digest).unwrap();
    store.blob_remove(digest).unwrap();
    assert!(matches!(store.blob_open(digest), Err(Error::NoBlob(_))));
}

#[test]
fn temporary_files_of_the_dead_are_swept() {
    let store = Temp::new();
    let living = store.temp_file().unwrap();
    let tmp = store.paths().tmp();
    fs::write(tmp.join("1.1.dead"), "12345").unwrap();
    fs::create_dir_all(tmp.join("foreign/deep")).unwrap();
    assert_eq!(store.temp_sweep().unwrap(), 5);
    assert!(living.path().exists());
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 1);
}

#[test]
fn a_blob_is_taken_up_where_another_process_ended() {
    let store = Temp::new();
    let bytes = b"one blob in two parts";
    let digest = Digest::of(bytes);
    let size = bytes.len() as u64;
    {
        let _turn = store.blob_lock(digest).unwrap();
        let mut partial = store.partial_open(digest, size).unwrap();
        partial.append(&bytes[..8]).unwrap();
    }
    let turn = store.blob_lock(digest).unwrap();
    let mut partial = store.partial_open(digest, size).unwrap();
    assert_eq!(partial.len(), 8);
    assert_eq!(partial.hasher().unwrap().finish(), Digest::of(&bytes[..8]));
    // Somebody works on it.
    assert_eq!(store.partial_sweep_older(Duration::ZERO).unwrap(), 0);
    partial.append(&bytes[8..]).unwrap();
    store.partial_finish(&partial, digest).unwrap();
    assert_eq!(fs::read(store.blob_path(digest)).unwrap(), bytes);
    drop(turn);
    assert_eq!(fs::read_dir(store.paths().partial()).unwrap().count(), 0);
}

#[test]
fn beginnings_of_blobs_go_when_they_are_old_or_wrong() {
    let store = Temp::new();
    let digest = Digest::of(b"x");
    let begin = |bytes: &[u8]| {
        let mut partial = store.partial_open(digest, 4).unwrap();
        partial.append(bytes).unwrap();
        partial
    };
    // Longer than the blob: it cannot be its beginning.
    drop(begin(b"12345"));
    let mut partial = store.partial_open(digest, 4).unwrap();
    assert!(partial.is_empty());
    partial.append(b"12").unwrap();
    store.partial_restart(&mut partial).unwrap();
    assert!(partial.is_empty());
    drop(partial);
    drop(begin(b"123"));
    assert_eq!(store.partial_sweep().unwrap(), 0);
    assert_eq!(store.partial_sweep_older(Duration::ZERO).unwrap(), 3);
    assert_eq!(fs::read_dir(store.paths().partial()).unwrap().count(), 0);
}

#[test]
fn names_move_between_images() {
    let store = Temp::new();
    let (one, two) = (image(&[diff("1")], &[]), image(&[diff("2")], &[]));
    let names = [name("a"), name("a:x")];
    let before = store.image_put_named(&one, &names).unwrap();
    assert_eq!(before, [None, None]);
    let before = store.image_put_named(&two, &names[..1]).unwrap();
    assert_eq!(before, [Some(one.id)]);
    assert_eq!(
        store.image_put_named(&two, &names[..1]).unwrap(),
        [Some(two.id)]
    );
    assert_eq!(store.name_get(&names[0]).unwrap(), Some(two.id));
    assert_eq!(store.name_get(&names[1]).unwrap(), Some(one.id));
    assert_eq!(
        store.name_list().unwrap(),
        [(names[0].clone(), two.id), (names[1].clone(), one.id)]
    );
    assert_eq!(store.image_get(two.id).unwrap(), Some(two.clone()));
    store.image_remove(one.id).unwrap();
    assert_eq!(store.name_get(&names[1]).unwrap(), None);
    assert!(store.name_remove(&names[0]).unwrap());
    assert!(!store.name_remove(&names[0]).unwrap());
    assert!(store.name_set(&names[0], ImageId(diff("none").0)).is_err());
    assert_eq!(store.image_list().unwrap(), [two]);
}

#[test]
fn a_digest_finds_an_image_within_its_repository() {
    let store = Temp::new();
    let row = image(&[], &[]);
    store.image_put_named(&row, &[name("a/b:1")]).unwrap();
    let digest = row.manifest_digest;
    let get = |text: String| store.name_get(&name(&text)).unwrap();
    assert_eq!(get(format!("a/b@{digest}")), Some(row.id));
    assert_eq!(get(format!("a/b:9@{digest}")), Some(row.id));
    assert_eq!(get(format!("a/c@{digest}")), None);
    let index = Digest::of(b"index");
    store
        .name_set(&name(&format!("a/c@{index}")), row.id)
        .unwrap();
    assert_eq!(get(format!("a/c:tag@{index}")), Some(row.id));
}

#[test]
fn images_are_found_by_prefix() {
    let store = Temp::new();
    let row = image(&[diff("1")], &[]);
    store.image_put(&row).unwrap();
    let hex = row.id.0.hex();
    assert_eq!(store.image_by_prefix(&hex[..3]).unwrap(), [row.id]);
    assert_eq!(store.image_by_prefix(&hex).unwrap(), [row.id]);
    for text in ["", "zz", &format!("{hex}0")] {
        assert!(store.image_by_prefix(text).unwrap().is_empty(), "{text}");
    }
}

#[test]
fn an_image_keeps_its_time_and_takes_a_new_manifest() {
    let store = Temp::new();
    let row = image(&[diff("1")], &[]);
    store.image_put(&row).unwrap();
    let newer = ImageRow {
        manifest: b"{}".to_vec(),
        manifest_digest: Digest::of(b"{}"),
        stored_at: 2,
        ..row.clone()
    };
    store.image_put(&newer).unwrap();
    let stored = store.image_get(row.id).unwrap().unwrap();
    assert_eq!((stored.stored_at, stored.manifest), (1, newer.manifest));
}

#[test]
fn layer_blobs_are_collected_when_nothing_names_them() {
    let store = Temp::new();
    let blobs = [b"a", b"b", b"c"].map(|bytes| store.blob(bytes));
    let row = |digest| LayerBlobRow {
        digest,
        diff_id: None,
        size: 1,
        media_type: "t".to_owned(),
    };
    let missing = Digest::of(b"missing");
    assert!(matches!(
        store.layer_blob_put(&row(missing)),
        Err(Error::NoBlob(_))
    ));
    for blob in blobs {
        store.layer_blob_put(&row(blob)).unwrap();
    }
    let seen = LayerBlobRow {
        diff_id: Some(diff("a")),
        ..row(blobs[0])
    };
    store.layer_blob_put(&seen).unwrap();
    store.layer_blob_put(&row(blobs[0])).unwrap();
    assert_eq!(
        store.layer_blob_by_diff(diff("a")).unwrap(),
        Some(seen.clone())
    );
    assert_eq!(store.layer_blob_get(blobs[0]).unwrap(), Some(seen));

    store.image_put(&image(&[], &blobs[..1])).unwrap();
    assert_eq!(store.layer_blob_unreached().unwrap(), []);
    store.age();
    assert_eq!(store.layer_blob_unreached().unwrap(), []);
    store.orphan();
    assert!(store.pin_layer_blob(blobs[1]).unwrap());
    assert_eq!(store.layer_blob_unreached().unwrap(), [row(blobs[2])]);
    assert!(!store.layer_blob_remove(blobs[0]).unwrap());
    assert!(!store.layer_blob_remove(blobs[1]).unwrap());
    assert!(store.layer_blob_remove(blobs[2]).unwrap());
    assert!(!store.blob_exists(blobs[2]));
    assert_eq!(store.layer_blob_get(blobs[2]).unwrap(), None);
}

#[test]
fn chains_are_known_as_soon_as_every_diff_is() {
    let store = Temp::new();
    let bottom = store.snapshot(None, None);
    let middle = store.snapshot(Some(bottom), Some(diff("2")));
    let top = store.snapshot(Some(middle), Some(diff("3")));
    let all = [diff("1"), diff("2"), diff("3")];
    let chain = ChainId::of(&all).unwrap();
    assert_eq!(store.snapshot_by_chain(chain).unwrap(), None);
    let row = store.snapshot_set_diff(bottom, diff("1"), 1024).unwrap();
    assert_eq!(row.chain_id, Some(ChainId::base(diff("1"))));
    assert_eq!(row.tar_size, Some(1024));
    assert_eq!(store.snapshot_by_chain(chain).unwrap().unwrap().id, top);
    let stack = store.snapshot_stack(top).unwrap();
    let ids: Vec<_> = stack.iter().map(|row| (row.id, row.depth)).collect();
    assert_eq!(ids, [(top, 3), (middle, 2), (bottom, 1)]);
    store.snapshot_set_tree(top, Digest::of(b"t")).unwrap();
    let row = store.snapshot_get(top).unwrap().unwrap();
    assert_eq!((row.tree, row.bytes), (Some(Digest::of(b"t")), 7));
}

#[test]
fn snapshots_lie_on_committed_ones_only() {
    let store = Temp::new();
    let active = store.snapshot_begin(None).unwrap();
    let refused = |parent| {
        matches!(
            store.snapshot_begin(Some(parent)),
            Err(Error::NoSnapshot(_))
        )
    };
    assert!(refused(active));
    assert!(refused(SnapshotId(99)));
    assert_eq!(
        store.snapshot_get(active).unwrap().unwrap().state,
        SnapshotState::Active
    );
    store.snapshot_commit(active, 0, None, None).unwrap();
    assert!(store.snapshot_commit(active, 0, None, None).is_err());
    assert!(store.snapshot_begin(Some(active)).is_ok());
    assert!(store.snapshot_stack(SnapshotId(99)).is_err());
}

#[test]
fn numbers_of_forgotten_snapshots_are_not_reused() {
    let store = Temp::new();
    let first = store.snapshot_begin(None).unwrap();
    store.snapshot_forget(first).unwrap();
    assert!(store.snapshot_begin(None).unwrap() > first);
}

#[test]
fn active_snapshots_of_the_dead_are_orphans() {
    let store = Temp::new();
    let id = store.snapshot_begin(None).unwrap();
    assert_eq!(store.snapshot_orphans().unwrap(), []);
    store.orphan();
    assert_eq!(store.snapshot_orphans().unwrap(), [id]);
}

#[test]
fn only_unreached_snapshots_are_condemned() {
    let store = Temp::new();
    let imaged = store.snapshot(None, Some(diff("i")));
    let imaged_top = store.snapshot(Some(imaged), Some(diff("j")));
    store.image_put(&image(&[diff("i")], &[])).unwrap();
    let cached_base = store.snapshot(None, None);
    let cached = store.snapshot(Some(cached_base), None);
    let record = CacheRecord {
        key: key("k"),
        line: Digest::of(b"l"),
        result: Some(cached),
        parts: Vec::new(),
        parent: None,
        description: String::new(),
    };
    store.cache_put(&record).unwrap();
    let contained = store.snapshot(None, None);
    let container = ContainerRow {
        id: "c".repeat(64),
        name: "c".to_owned(),
        image: ImageId(Digest::of(b"")),
        snapshot: Some(contained),
        created_at: 1,
    };
    store.container_put(&container).unwrap();
    let (pinned, lost) = (
        store.snapshot(None, None),
        store.snapshot(None, Some(diff("x"))),
    );
    let lost_top = store.snapshot(Some(lost), None);
    let under_active = store.snapshot(None, None);
    let active = store.snapshot_begin(Some(under_active)).unwrap();

    // Too young.
    assert_eq!(store.snapshot_unreached().unwrap(), []);
    store.age();
    assert!(store.pin(pinned).unwrap());
    assert_eq!(
        store.snapshot_unreached().unwrap(),
        [lost_top, lost, imaged_top]
    );
    // Condemned ones cannot be picked up again, and are not lost sight of.
    assert!(!store.pin(lost).unwrap());
    assert!(store.snapshot_begin(Some(lost)).is_err());
    let chain = ChainId::base(diff("x"));
    assert_eq!(store.snapshot_by_chain(chain).unwrap(), None);
    assert!(store.snapshot_get(lost).unwrap().is_some());
    assert_eq!(
        store.snapshot_unreached().unwrap(),
        [lost_top, lost, imaged_top]
    );
    for id in [lost_top, lost, imaged_top] {
        store.snapshot_forget(id).unwrap();
    }
    assert_eq!(store.snapshot_unreached().unwrap(), []);

    store.unpin_all().unwrap();
    store.cache_clear().unwrap();
    store.container_remove(&container.id).unwrap();
    store.snapshot_forget(active).unwrap();
    let unreached = store.snapshot_unreached().unwrap();
    assert_eq!(
        unreached,
        [under_active, pinned, contained, cached, cached_base]
    );
}

#[test]
fn cache_records_last_as_long_as_their_snapshot() {
    let store = Temp::new();
    let result = store.snapshot(None, None);
    let part = KeyPart {
        name: "command".to_owned(),
        value: "true".to_owned(),
    };
    let record = CacheRecord {
        key: key("k"),
        line: Digest::of(b"l"),
        result: Some(result),
        parts: vec![part],
        parent: None,
        description: String::new(),
    };
    assert_eq!(store.cache_get(record.key).unwrap(), None);
    store.cache_put(&record).unwrap();
    let other = CacheRecord {
        result: None,
        ..record.clone()
    };
    store.cache_put(&other).unwrap();
    assert_eq!(store.cache_get(record.key).unwrap(), Some(record.clone()));
    assert_eq!(
        store.cache_nearest(record.line).unwrap(),
        Some(record.clone())
    );
    // A use after a while is noted.
    store.sql("UPDATE cache SET used_at = 1");
    store.cache_get(record.key).unwrap();
    assert_eq!(store.layer_uses().unwrap()[0].uses, 2);
    // Without its snapshot the record counts for nothing, and another may come.
    store.sql(&format!(
        "UPDATE snapshots SET state = 2 WHERE id = {result}"
    ));
    assert_eq!(store.cache_get(record.key).unwrap(), None);
    store.cache_put(&other).unwrap();
    assert_eq!(store.cache_get(record.key).unwrap(), Some(other));
    assert_eq!(store.cache_clear().unwrap(), 1);
}

#[test]
fn a_cache_hit_does_not_write() {
    let store = Temp::new();
    let record = CacheRecord {
        key: key("k"),
        line: Digest::of(b"l"),
        result: None,
        parts: Vec::new(),
        parent: None,
        description: String::new(),
    };
    store.cache_put(&record).unwrap();
    store.sql("PRAGMA query_only = 1");
    assert_eq!(store.cache_get(record.key).unwrap(), Some(record));
}

#[test]
fn containers_are_found_by_name_id_and_prefix() {
    let store = Temp::new();
    let row = |id: &str, name: &str| ContainerRow {
        id: id.repeat(64),
        name: name.to_owned(),
        image: ImageId(Digest::of(b"")),
        snapshot: None,
        created_at: 1,
    };
    let (a, b) = (row("a", "web"), row("ab", "aaa"));
    store.container_put(&a).unwrap();
    store.container_put(&b).unwrap();
    let err = store.container_put(&row("f", "web")).unwrap_err();
    assert!(matches!(err, Error::NameTaken { holder, .. } if holder == a.id));
    let find = |text: &str| store.container_find(text).unwrap();
    let found = |text: &str, row: &ContainerRow| assert_eq!(find(text), std::slice::from_ref(row));
    found("web", &a);
    found(&a.id, &a);
    found("aaa", &b);
    found("aa", &a);
    assert_eq!(find("a").len(), 2);
    assert_eq!(find(""), []);
    assert_eq!(find("we"), []);
    assert!(store.container_rename(&a.id, "aaa").is_err());
    assert!(store.container_rename(&a.id, "web2").unwrap());
    assert_eq!(store.container_list().unwrap().len(), 2);
    assert!(store.container_remove(&a.id).unwrap());
    assert!(!store.container_remove(&a.id).unwrap());
}

#[test]
fn addresses_are_leased_while_their_process_lives() {
    let store = Temp::new();
    let network = NetworkRow {
        name: "bridge".to_owned(),
        id: "ab".repeat(32),
        device: "rb0".to_owned(),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        prefix: 30,
        created_at: 7,
        spec: "{}".to_owned(),
    };
    assert_eq!(store.network_put(&network).unwrap(), network);
    let other = NetworkRow {
        prefix: 8,
        ..network.clone()
    };
    assert_eq!(store.network_put(&other).unwrap(), network);
    assert_eq!(store.network_get("bridge").unwrap(), Some(network.clone()));
    let first_free = |leases: &[LeaseRow]| {
        (2..4)
            .map(|last| Ipv4Addr::new(10, 0, 0, last))
            .find(|address| leases.iter().all(|lease| lease.address != *address))
            .map(|address| (address, None))
    };
    let take = |owner: &str| {
        let aliases = ["db".to_owned(), format!("{owner}-x")];
        store
            .lease_take("bridge", owner, &aliases, &first_free)
            .unwrap()
    };
    let one = take("one").unwrap();
    assert_eq!(one.address, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(take("two").unwrap().address, Ipv4Addr::new(10, 0, 0, 3));
    assert_eq!(take("three"), None);
    let names = |name: &str| -> Vec<String> {
        let found = store.lease_find("bridge", name).unwrap();
        found.into_iter().map(|found| found.name).collect()
    };
    assert_eq!(names("DB"), ["one", "two"]);
    assert_eq!(names("one-x"), ["one"]);
    assert_eq!(names("one"), ["one"]);
    assert_eq!(names("on"), [""; 0]);
    assert_eq!(store.lease_of("bridge", "10.0.0.3").unwrap()[0].name, "two");
    store.lease_release("one").unwrap();
    assert_eq!(take("three").unwrap().address, one.address);
    store.orphan();
    assert_eq!(store.lease_list("bridge").unwrap(), []);
    assert_eq!(take("four").unwrap().address, one.address);
    assert_eq!(store.lease_list("bridge").unwrap().len(), 1);
    store.network_remove("bridge").unwrap();
    assert_eq!(store.network_list().unwrap(), []);
}

#[test]
fn the_first_look_after_a_boot_is_told_apart() {
    let store = Temp::new();
    assert!(store.begin_boot_check().unwrap());
    assert!(!store.begin_boot_check().unwrap());
    assert!(!store.again().begin_boot_check().unwrap());
    store.sync_data().unwrap();
}

#[test]
fn eviction_takes_what_only_the_cache_needs() {
    let store = Temp::new();
    let base = store.snapshot(None, None);
    let step = store.snapshot(Some(base), None);
    let above = store.snapshot(Some(step), None);
    let pinned = store.snapshot(Some(base), None);
    let fresh = store.snapshot(Some(base), None);
    let record = |name: &str, result| CacheRecord {
        key: key(name),
        line: Digest::of(name.as_bytes()),
        result: Some(result),
        parts: Vec::new(),
        parent: None,
        description: name.to_owned(),
    };
    for (name, result) in [("b", base), ("s", step), ("a", above), ("p", pinned)] {
        store.cache_put(&record(name, result)).unwrap();
    }
    assert_eq!(
        store.pin_all(&[pinned, SnapshotId(999)]).unwrap(),
        [SnapshotId(999)]
    );
    // Something stands on it, it is pinned, or nobody has named it yet.
    assert_eq!(store.snapshot_evict(&[step, pinned, fresh]).unwrap(), []);
    assert_eq!(
        store.snapshot_evict(&[step, base, above]).unwrap(),
        [above, step]
    );
    assert_eq!(store.cache_get(key("s")).unwrap().unwrap().result, None);
    assert_eq!(
        store.cache_get(key("b")).unwrap().unwrap().result,
        Some(base)
    );
    // What is kept stays, with what it stands on.
    store.unpin_all().unwrap();
    store.keep(Kept::Layer, pinned.0, true).unwrap();
    assert_eq!(store.snapshot_evict(&[pinned, base]).unwrap(), []);
    let uses = store.layer_uses().unwrap();
    let kept: Vec<SnapshotId> = uses.iter().filter(|u| u.is_kept).map(|u| u.id).collect();
    assert_eq!(kept, [base, pinned]);
    store.keep(Kept::Layer, pinned.0, false).unwrap();
    assert_eq!(store.snapshot_evict(&[pinned]).unwrap(), [pinned]);
    assert_eq!(store.cache_forget_absent().unwrap(), 3);
}
