use std::io::Write as _;

use super::super::Paths;
use super::*;
use crate::oci::Digest;

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
    Place {
        store: Store::open(paths).unwrap(),
        _dir: dir,
    }
}

impl Place {
    fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let mut writer = self.store.blob_writer().unwrap();
        writer.write_all(bytes).unwrap();
        let digest = Digest::of(bytes);
        self.store
            .hosted_blob_put(repository, writer, digest)
            .unwrap();
        digest
    }

    fn manifest(&self, repository: &str, parts: &[Digest], tags: &[&str]) -> (Digest, Vec<Digest>) {
        let bytes = format!("{parts:?}").into_bytes();
        let digest = Digest::of(&bytes);
        let manifest = HostedManifest {
            digest,
            media_type: "a/b".to_owned(),
            bytes,
            subject: None,
        };
        let part = |digest: &Digest| HostedPart {
            digest: *digest,
            size: 1,
            kind: PartKind::Blob,
        };
        let parts: Vec<_> = parts.iter().map(part).collect();
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let missing = self
            .store
            .hosted_manifest_put(repository, &manifest, &parts, &tags, false);
        (digest, missing.unwrap())
    }

    /// Makes every link as old as one that is not kept for its own sake.
    fn age(&self) {
        let sql = "UPDATE hosted_blobs SET used_at = used_at - ?1";
        self.store.db().execute(sql, [2 * LINK_GRACE]).unwrap();
    }

    fn unreached(&self) -> Vec<Digest> {
        let rows = self.store.layer_blob_unreached().unwrap();
        rows.into_iter().map(|row| row.digest).collect()
    }
}

#[test]
fn a_blob_stays_while_a_manifest_names_it() {
    let place = place();
    let (named, alone) = (place.blob("a", b"named"), place.blob("a", b"alone"));
    assert_eq!(place.manifest("a", &[named], &["1"]).1, []);
    place.store.hosted_sweep().unwrap();
    assert_eq!(place.unreached(), [], "both were just sent");
    place.age();
    place.store.hosted_sweep().unwrap();
    assert_eq!(place.unreached(), [alone]);
    assert!(!place.store.layer_blob_remove(named).unwrap());
    assert!(place.store.layer_blob_remove(alone).unwrap());
    assert!(place.store.blob_exists(named) && !place.store.blob_exists(alone));
}

#[test]
fn a_removed_manifest_lets_its_blobs_go_but_not_those_of_others() {
    let place = place();
    let (own, shared, asked) = (
        place.blob("a", b"own"),
        place.blob("a", b"shared"),
        place.blob("a", b"asked"),
    );
    let (first, _) = place.manifest("a", &[own, shared, asked], &["1", "2"]);
    place.manifest("a", &[shared], &["3"]);
    // Somebody found it there and may name it.
    assert!(place.store.hosted_blob_touch("a", asked).unwrap());
    assert!(place.store.hosted_manifest_remove("a", first).unwrap());
    assert!(!place.store.hosted_manifest_remove("a", first).unwrap());
    assert_eq!(place.store.hosted_tags("a", "", 9).unwrap(), ["3"]);
    assert_eq!(place.unreached(), [own]);
    assert!(place.store.hosted_blob("a", asked).unwrap());
}

#[test]
fn repositories_do_not_see_each_others_blobs() {
    let place = place();
    let blob = place.blob("a", b"blob");
    assert!(!place.store.hosted_blob("b", blob).unwrap());
    assert_eq!(place.manifest("b", &[blob], &[]).1, [blob]);
    assert!(!place.store.hosted_exists("b").unwrap());
    assert!(!place.store.hosted_blob_mount("b", blob, "c").unwrap());
    assert!(place.store.hosted_blob_mount("b", blob, "a").unwrap());
    assert_eq!(place.manifest("b", &[blob], &[]).1, []);
    assert!(place.store.hosted_blob_remove("a", blob).unwrap());
    assert_eq!(place.unreached(), []);
}

#[test]
fn wrong_bytes_leave_nothing_behind() {
    let place = place();
    let mut writer = place.store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let err = place
        .store
        .hosted_blob_put("a", writer, Digest::of(b"this"));
    assert!(matches!(err, Err(Error::Damaged { .. })));
    let files = |dir| std::fs::read_dir(dir).unwrap().count();
    assert_eq!(files(place.store.paths().blobs()), 0);
    assert_eq!(files(place.store.paths().tmp()), 0);
}

#[test]
fn an_upload_outlives_its_writer_and_becomes_a_blob() {
    let place = place();
    let store = &place.store;
    let id = store.upload_begin("a").unwrap().unwrap();
    let open = || match store.upload_open("a", &id).unwrap() {
        UploadOpened::Ours(upload) => upload,
        other => panic!("{other:?}"),
    };
    let mut upload = open();
    upload.write_all(b"one ").unwrap();
    assert!(matches!(
        store.upload_open("a", &id).unwrap(),
        UploadOpened::Busy
    ));
    drop(upload);
    assert_eq!(store.upload_length("a", &id).unwrap(), Some(4));
    assert_eq!(store.upload_length("b", &id).unwrap(), None);
    let mut upload = open();
    upload.write_all(b"two").unwrap();
    let hasher = upload.hash().unwrap();
    let digest = Digest::of(b"one two");
    store.upload_finish("a", &upload, hasher, digest).unwrap();
    assert!(store.hosted_blob("a", digest).unwrap());
    assert_eq!(std::fs::read(store.blob_path(digest)).unwrap(), b"one two");
    assert_eq!(store.upload_length("a", &id).unwrap(), None);
    assert_eq!(
        std::fs::read_dir(store.paths().uploads()).unwrap().count(),
        0
    );
}

#[test]
fn old_uploads_are_swept_and_new_ones_are_not() {
    let place = place();
    let store = &place.store;
    let ids: Vec<_> = (0..3)
        .map(|_| store.upload_begin("a").unwrap().unwrap())
        .collect();
    for id in &ids[..2] {
        match store.upload_open("a", id).unwrap() {
            UploadOpened::Ours(mut upload) => upload.write_all(b"12345").unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    let path = store.paths().uploads().join(&ids[0]);
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(old)
        .unwrap();
    std::fs::write(store.paths().uploads().join("stray"), "123").unwrap();
    assert_eq!(store.hosted_sweep().unwrap(), 8);
    let left = |id: &String| store.upload_length("a", id).unwrap();
    assert_eq!(
        ids.iter().map(left).collect::<Vec<_>>(),
        [None, Some(5), Some(0)]
    );
}

#[test]
fn lists_come_in_pages() {
    let place = place();
    let blob = place.blob("a", b"blob");
    place.manifest("a", &[blob], &["b", "a", "C", "10", "9"]);
    let tags = |last, limit| place.store.hosted_tags("a", last, limit).unwrap();
    assert_eq!(tags("", 9), ["10", "9", "C", "a", "b"]);
    assert_eq!(tags("9", 2), ["C", "a"]);
    assert_eq!(tags("b", 2), [] as [&str; 0]);
    assert_eq!(place.store.hosted_repositories("", 9).unwrap(), ["a"]);
    assert_eq!(
        place.store.hosted_repositories("a", 9).unwrap(),
        [] as [&str; 0]
    );
}
