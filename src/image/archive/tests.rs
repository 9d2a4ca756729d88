use serde_json::json;

use super::*;
use crate::image::fixture::*;
use crate::image::{Error, find, snapshot_of, validate};
use crate::oci::{Digest, media_type};

const HELLO: &[(&str, &str)] = &[("etc/hello", "hello"), ("bin/sh", "#!")];
const MORE: &[(&str, &str)] = &[("etc/.wh.hello", ""), ("etc/more", "more")];

fn oci_of(name: &str, gz: bool) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let (a, b) = (layer_of(HELLO), layer_of(MORE));
    let (ga, gb) = (gzip(&a), zstd(&b));
    let (manifest, mut files) = if gz {
        oci_image(&[
            (media_type::LAYER_GZIP, &ga, &a),
            (media_type::LAYER_ZSTD, &gb, &b),
        ])
    } else {
        oci_image(&[(media_type::LAYER, &a, &a), (media_type::LAYER, &b, &b)])
    };
    files.push(index(&[named(
        descriptor(media_type::MANIFEST, &manifest),
        name,
    )]));
    (manifest, files)
}

/// The archive is refused with this text and leaves nothing.
fn refused(archive: &[u8], expected: &str) {
    let store = Temp::new();
    let err = store.load(archive).unwrap_err();
    let text = err.to_string();
    assert!(text.contains(expected), "{text}, not {expected}");
    assert!(store.is_empty(), "{text} left something");
}

#[test]
fn a_docker_archive_keeps_its_configuration() {
    let store = Temp::new();
    let (a, b) = (layer_of(HELLO), layer_of(MORE));
    let archive = pack(&legacy(&[&a, &b], &["x:1", "user/y:latest"]));
    let loaded = store.load(&archive).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].names, [name("x:1"), name("user/y")]);
    assert_eq!(loaded[0].replaced, [None, None]);
    let image = find(&store, "x:1").unwrap();
    assert_eq!(image.id.0, Digest::of(&config_of(&[&a, &b])));
    assert_eq!(image.manifest.layers[1].media_type, media_type::LAYER);
    validate(&store, &image).unwrap();
    assert_eq!(store.text("x:1", "etc/more").unwrap(), "more");
    assert_eq!(store.text("x:1", "etc/hello"), None);
    assert_eq!(store.text("user/y", "bin/sh").unwrap(), "#!");
}

#[test]
fn an_oci_layout_keeps_its_blobs() {
    let store = Temp::new();
    let (manifest, files) = oci_of("docker.io/library/x:1", true);
    let loaded = store.load(&pack(&files)).unwrap();
    assert_eq!(loaded[0].names, [name("x:1")]);
    let image = find(&store, "x:1").unwrap();
    assert_eq!(image.manifest_bytes, manifest);
    assert_eq!(store.blobs(), 2, "manifest and configuration are no blobs");
    assert_eq!(store.text("x:1", "etc/more").unwrap(), "more");
    // What was unpacked is known by its plain tar.
    let diff_id = image.config.rootfs.diff_ids[0];
    let row = store.layer_blob_by_diff(diff_id).unwrap().unwrap();
    assert_eq!(row.digest, image.manifest.layers[0].digest);
    validate(&store, &image).unwrap();
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let (_, mut files) = oci_of("x:1", true);
    files.reverse();
    let store = Temp::new();
    store.load(&pack(&files)).unwrap();
    validate(&store, &find(&store, "x:1").unwrap()).unwrap();
}

#[test]
fn every_compression_is_read() {
    let layer = layer_of(HELLO);
    let plain = pack(&legacy(&[&layer], &["x:1"]));
    for archive in [gzip(&plain), zstd(&plain), bzip2(&plain)] {
        let store = Temp::new();
        store.load(&archive).unwrap();
        assert_eq!(store.text("x:1", "etc/hello").unwrap(), "hello");
    }
}

#[test]
fn layers_of_a_docker_archive_may_be_compressed() {
    let plain = layer_of(HELLO);
    for (layer, expected) in [
        (gzip(&plain), media_type::LAYER_GZIP),
        (zstd(&plain), media_type::LAYER_ZSTD),
        (bzip2(&plain), media_type::LAYER),
    ] {
        let mut files = legacy(&[&plain], &["x:1"]);
        files[1].1 = layer;
        let store = Temp::new();
        store.load(&pack(&files)).unwrap();
        let image = find(&store, "x:1").unwrap();
        assert_eq!(image.manifest.layers[0].media_type, expected);
        assert_eq!(store.text("x:1", "etc/hello").unwrap(), "hello");
        validate(&store, &image).unwrap();
        assert_eq!(store.blobs(), 1, "{expected}");
    }
}

#[test]
fn layers_may_be_links_to_other_files() {
    let layer = layer_of(HELLO);
    let mut files = legacy(&[&layer], &["x:1"]);
    let path = files[1].0.clone();
    files[1] = ("abc.tar".to_owned(), layer);
    files.push((format!("{path}@"), b"../abc.tar".to_vec()));
    let store = Temp::new();
    store.load(&pack(&files)).unwrap();
    assert_eq!(store.text("x:1", "etc/hello").unwrap(), "hello");
}

#[test]
fn large_layers_go_to_the_store_and_junk_does_not_stay() {
    let large = "x".repeat(3 << 20);
    let layer = layer_of(&[("large", &large)]);
    let mut files = legacy(&[&layer], &["x:1"]);
    files.insert(0, blob(&vec![7; 2 << 20]));
    files.insert(0, ("other".to_owned(), vec![8; 2 << 20]));
    let store = Temp::new();
    store.load(&pack(&files)).unwrap();
    assert_eq!(store.blobs(), 1);
    validate(&store, &find(&store, "x:1").unwrap()).unwrap();
    // Once more, with everything there.
    store.load(&pack(&files)).unwrap();
    assert_eq!(store.blobs(), 1);
}

#[test]
fn what_is_saved_loads_as_the_same_image() {
    let (first, second) = (Temp::new(), Temp::new());
    let (_, files) = oci_of("localhost:5000/x:1", true);
    first.load(&pack(&files)).unwrap();
    let layer = layer_of(HELLO);
    first.load(&pack(&legacy(&[&layer], &["y:2"]))).unwrap();
    let top = first.layer(None, &[("built", "here")]);
    let built = crate::image::NewImage {
        top: Some(top),
        base: None,
        config: new_config(1),
        names: vec![name("z")],
    };
    crate::image::assemble(&first, &built).unwrap();
    let names = ["localhost:5000/x:1", "y:2", "z"];
    let saved = first.save(&names);
    assert_eq!(first.save(&names), saved);
    let loaded = second.load(&saved).unwrap();
    assert_eq!(loaded.len(), 3);
    for text in names {
        let (before, after) = (find(&first, text).unwrap(), find(&second, text).unwrap());
        assert_eq!(before.id, after.id);
        assert_eq!(before.manifest_bytes, after.manifest_bytes);
        validate(&second, &after).unwrap();
    }
    assert_eq!(second.save(&names), saved);
    assert_eq!(second.text("z", "built").unwrap(), "here");
}

#[test]
fn saved_archives_have_both_forms() {
    let store = Temp::new();
    let layer = layer_of(HELLO);
    store
        .load(&pack(&legacy(&[&layer], &["x:1", "u/y"])))
        .unwrap();
    let image = find(&store, "x:1").unwrap();
    let mut out = Vec::new();
    let images = [
        (image.clone(), vec![name("x:1")]),
        (image.clone(), vec![name("u/y"), name("x:1")]),
    ];
    save(&store, &images, &mut out).unwrap();
    let mut found = std::collections::BTreeMap::new();
    let mut order = Vec::new();
    for entry in tar::Archive::new(out.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        order.push(path.clone());
        found.insert(path, bytes);
    }
    assert!(order.is_sorted());
    let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
    let layer_path = format!("blobs/sha256/{}", Digest::of(&layer).hex());
    assert_eq!(manifest[0]["RepoTags"], json!(["x:1", "u/y:latest"]));
    assert_eq!(manifest[0]["Layers"], json!([layer_path]));
    let source = &manifest[0]["LayerSources"][diff(&layer).to_string()];
    assert_eq!(source["size"], json!(layer.len()));
    let index: serde_json::Value = serde_json::from_slice(&found["index.json"]).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let annotations = &index["manifests"][1]["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/u/y:latest"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "latest");
    assert_eq!(found["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let repositories: serde_json::Value = serde_json::from_slice(&found["repositories"]).unwrap();
    assert_eq!(repositories["u/y"]["latest"], Digest::of(&layer).hex());
    // By ID: no names.
    let mut out = Vec::new();
    save(&store, &[(image, Vec::new())], &mut out).unwrap();
    let other = Temp::new();
    let loaded = other.load(&out).unwrap();
    assert!(loaded[0].names.is_empty());
}

#[test]
fn a_platform_is_chosen_and_attestations_are_left_out() {
    let host = crate::oci::Platform::host();
    let (mine, others) = (layer_of(&[("a", "mine")]), layer_of(&[("a", "other")]));
    let (mine, mut files) = oci_image(&[(media_type::LAYER, &mine, &mine)]);
    let (other, more) = oci_image(&[(media_type::LAYER, &others, &others)]);
    files.extend(more);
    let on = |bytes: &[u8], os: &str, architecture: &str| {
        let mut found = descriptor(media_type::MANIFEST, bytes);
        found["platform"] = json!({"os": os, "architecture": architecture});
        found
    };
    let nested = json!({"schemaVersion": 2, "manifests": [
        on(b"attestation", "unknown", "unknown"),
        on(&other, "linux", "s390x"),
        on(&mine, "linux", &host.architecture),
    ]});
    let nested = nested.to_string().into_bytes();
    files.push(blob(&nested));
    let mut pointer = descriptor(media_type::INDEX, &nested);
    pointer["annotations"] = json!({"org.opencontainers.image.ref.name": "a.b/c:1"});
    files.push(index(&[pointer]));
    let store = Temp::new();
    let loaded = store.load(&pack(&files)).unwrap();
    assert_eq!(loaded[0].names, [name("a.b/c:1")]);
    assert_eq!(store.text("a.b/c:1", "a").unwrap(), "mine");
    // The same names at the top are one image too.
    files.pop();
    files.push(index(&[
        named(on(&other, "linux", "s390x"), "c:1"),
        named(on(&mine, "linux", &host.architecture), "c:1"),
    ]));
    store.load(&pack(&files)).unwrap();
    assert_eq!(store.text("c:1", "a").unwrap(), "mine");
}

#[test]
fn names_come_from_the_docker_manifest_when_the_index_has_none() {
    let (manifest, mut files) = oci_of("x:1", false);
    files.pop();
    let mut pointer = descriptor(media_type::MANIFEST, &manifest);
    // A bare tag names nothing.
    pointer["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    files.push(index(&[pointer]));
    let config = &files[0].0;
    let docker = json!([{"Config": config, "RepoTags": ["y:2"], "Layers": []}]);
    files.push(("manifest.json".into(), docker.to_string().into_bytes()));
    let store = Temp::new();
    assert_eq!(store.load(&pack(&files)).unwrap()[0].names, [name("y:2")]);
}

#[test]
fn a_name_that_moves_says_from_where() {
    let store = Temp::new();
    let (one, two) = (layer_of(HELLO), layer_of(MORE));
    let first = store.load(&pack(&legacy(&[&one], &["x:1"]))).unwrap();
    let second = store.load(&pack(&legacy(&[&two], &["x:1"]))).unwrap();
    assert_eq!(second[0].replaced, [Some(first[0].id)]);
    let again = store.load(&pack(&legacy(&[&two], &["x:1"]))).unwrap();
    assert_eq!(again[0].replaced, [None]);
}

#[test]
fn what_is_no_image_archive_is_refused() {
    refused(b"", "not an image archive");
    refused(&[b'x'; 5_000], "not an image archive: not a tar");
    refused(&[0; 10_240], "neither");
    refused(&layer_of(HELLO), "neither `index.json` nor `manifest.json`");
    refused(&gzip(&layer_of(HELLO)), "neither");
    refused(&pack(&[index(&[])]), "no image");
    refused(
        &pack(&[("manifest.json".into(), b"[]".to_vec())]),
        "no image",
    );
    refused(
        &pack(&[("manifest.json".into(), b"{]".to_vec())]),
        "docker manifest",
    );
    refused(
        &pack(&[("../manifest.json".into(), b"[]".to_vec())]),
        "neither",
    );
}

#[test]
fn wrong_and_missing_blobs_are_refused() {
    for gz in [true, false] {
        let (_, files) = oci_of("x:1", gz);
        for index in 0..files.len() - 1 {
            let mut without = files.clone();
            without.remove(index);
            refused(&pack(&without), "is missing");
            let mut wrong = files.clone();
            wrong[index].1.push(0);
            refused(&pack(&wrong), "hashes to");
        }
    }
    let mut large = oci_of("x:1", false).1;
    large.insert(
        0,
        (format!("blobs/sha256/{}", "a".repeat(64)), vec![0; 2 << 20]),
    );
    refused(&pack(&large), "hashes to");
    let layer = layer_of(HELLO);
    let mut files = legacy(&[&layer], &["x:1"]);
    files[1].1 = layer_of(MORE);
    refused(&pack(&files), "hashes to");
    files.remove(1);
    refused(&pack(&files), "is missing");
}

#[test]
fn sizes_and_counts_must_agree() {
    let layer = layer_of(HELLO);
    let (manifest, files) = oci_image(&[(media_type::LAYER, &layer, &layer)]);
    let mut pointer = named(descriptor(media_type::MANIFEST, &manifest), "x:1");
    pointer["size"] = json!(1);
    let mut all = files.clone();
    all.push(index(&[pointer]));
    refused(&pack(&all), "bytes, not 1");
    let mut text = String::from_utf8(manifest).unwrap();
    let count = text.find("\"layers\":[").unwrap() + 10;
    text.replace_range(count..text.len() - 2, "");
    let manifest = text.into_bytes();
    let mut all = files;
    all.push(blob(&manifest));
    all.push(index(&[named(
        descriptor(media_type::MANIFEST, &manifest),
        "x:1",
    )]));
    refused(&pack(&all), "0 layers and 1 diff IDs");
}

#[test]
fn archives_that_end_too_early_are_refused() {
    let layer = layer_of(HELLO);
    let archive = pack(&legacy(&[&layer], &["x:1"]));
    // Without the padding at the end, which nobody misses.
    for length in (0..archive.len() - 1_024).step_by(173) {
        refused(&archive[..length], "");
    }
    let packed = gzip(&archive);
    for length in (0..packed.len() - 1).step_by(37) {
        refused(&packed[..length], "");
    }
}

#[test]
fn a_checksum_that_is_no_octal_number_is_damage() {
    let mut archive = pack(&legacy(&[&layer_of(HELLO)], &["x:1"]));
    for first in [0x80, 0xbf, 0xff] {
        archive[148] = first;
        refused(&archive, "not a tar");
    }
}

#[test]
fn damaged_archives_never_panic() {
    let (_, files) = oci_of("x:1", true);
    let archive = pack(&files);
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let store = Temp::new();
    for _ in 0..300 {
        let mut broken = archive.clone();
        for _ in 0..=random(4) {
            let at = random(broken.len());
            broken[at] = u8::try_from(random(256)).unwrap();
        }
        if let Ok(loaded) = store.load(&broken) {
            let image = find(&store, &loaded[0].id.to_string()).unwrap();
            // Layers that are compressed are verified when they are unpacked.
            snapshot_of(&store, &image).ok();
        }
    }
}

#[test]
fn endless_headers_are_refused() {
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(&[b'9'; 4_096]);
    refused(&archive, "a header of more than");
}

#[test]
fn a_wrong_layer_is_noticed_when_it_is_unpacked() {
    let (promised, other) = (layer_of(HELLO), layer_of(MORE));
    let packed = gzip(&other);
    let (manifest, mut files) = oci_image(&[(media_type::LAYER_GZIP, &packed, &promised)]);
    files.push(index(&[named(
        descriptor(media_type::MANIFEST, &manifest),
        "x:1",
    )]));
    let store = Temp::new();
    store.load(&pack(&files)).unwrap();
    let image = find(&store, "x:1").unwrap();
    assert!(matches!(
        snapshot_of(&store, &image),
        Err(Error::Chain(crate::snapshot::ChainError::WrongDiffId {
            index: 0,
            ..
        }))
    ));
    assert!(matches!(
        validate(&store, &image),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(store.snapshot_list().unwrap(), []);
    let left = std::fs::read_dir(store.paths().snapshots())
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_damaged_blob_is_not_saved() {
    let store = Temp::new();
    let (_, files) = oci_of("x:1", true);
    store.load(&pack(&files)).unwrap();
    let image = find(&store, "x:1").unwrap();
    for change in [b"short".to_vec(), vec![0; 100_000]] {
        let path = store.blob_path(image.manifest.layers[0].digest);
        std::fs::write(path, change).unwrap();
        let err = save(&store, &[(image.clone(), Vec::new())], &mut Vec::new());
        assert!(matches!(err, Err(Error::Damaged { .. })));
    }
}

#[test]
fn an_imported_tree_is_an_image_of_one_layer() {
    let store = Temp::new();
    let options = ImportOptions {
        message: Some("mine".to_owned()),
        name: Some(name("x:1")),
        ..ImportOptions::default()
    };
    let id = import(&store, &mut &*bzip2(&layer_of(HELLO)), options).unwrap();
    let image = find(&store, "x:1").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.config.history[0].comment.as_deref(), Some("mine"));
    assert_eq!(image.config.created, image.config.history[0].created);
    assert_eq!(image.config.created.as_ref().unwrap().len(), 30);
    assert_eq!(image.config.os, "linux");
    validate(&store, &image).unwrap();
    assert_eq!(store.text("x:1", "etc/hello").unwrap(), "hello");
    let other = Temp::new();
    other.load(&store.save(&["x:1"])).unwrap();
    assert_eq!(other.text("x:1", "bin/sh").unwrap(), "#!");
    let broken = import(&store, &mut &b"no tar at all"[..], ImportOptions::default());
    assert!(broken.is_err());
}
