use super::fixture::*;
use super::*;
use crate::oci::{ImageId, media_type};
use crate::store::SnapshotId;

fn build(store: &Temp, top: Option<SnapshotId>, layers: usize, text: &str) -> Image {
    let new = NewImage {
        top,
        base: None,
        config: new_config(layers),
        names: vec![name(text)],
    };
    assemble(store, &new).unwrap()
}

#[test]
fn the_same_trees_make_the_same_image() {
    let (one, two) = (Temp::new(), Temp::new());
    let [first, second] = [&one, &two].map(|store| {
        let base = store.layer(None, &[("a", "1")]);
        let top = store.layer(Some(base), &[("b", "2"), ("c/d", "3")]);
        let middle = store.layer(Some(top), &[("b", "4")]);
        for layer in [base, top, middle] {
            // The clock is no part of what is built.
            let dir = crate::snapshot::layer_dir(store, layer);
            for entry in std::fs::read_dir(dir).unwrap() {
                let file = std::fs::File::open(entry.unwrap().path()).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }
        build(store, Some(middle), 3, "x")
    });
    assert_eq!(first.id, second.id);
    assert_eq!(first.manifest_bytes, second.manifest_bytes);
    assert_eq!(first.manifest.layers.len(), 3);
    validate(&one, &first).unwrap();
    assert_eq!(one.blobs(), 0, "trees are kept, not tars");
    assert_eq!(find(&two, "x").unwrap().config_bytes, first.config_bytes);
}

#[test]
fn an_image_may_have_no_layers() {
    let store = Temp::new();
    let image = build(&store, None, 0, "empty");
    validate(&store, &image).unwrap();
    assert_eq!(snapshot_of(&store, &image).unwrap(), None);
    let other = Temp::new();
    other.load(&store.save(&["empty"])).unwrap();
    assert_eq!(find(&other, "empty").unwrap().id, image.id);
}

#[test]
fn layers_shared_with_the_base_keep_their_descriptors() {
    let store = Temp::new();
    let layer = layer_of(&[("etc/hello", "hello")]);
    let packed = gzip(&layer);
    let (manifest, mut files) = oci_image(&[(media_type::DOCKER_LAYER_GZIP, &packed, &layer)]);
    files.push(index(&[named(
        descriptor(media_type::MANIFEST, &manifest),
        "base",
    )]));
    store.load(&pack(&files)).unwrap();
    let base = find(&store, "base").unwrap();
    let below = snapshot_of(&store, &base).unwrap();
    let top = store.layer(below, &[("new", "")]);
    let mut config = base.config.clone();
    config.history.push(crate::oci::History::default());
    let new = NewImage {
        top: Some(top),
        base: Some(base.clone()),
        config,
        names: Vec::new(),
    };
    let image = assemble(&store, &new).unwrap();
    let layers = &image.manifest.layers;
    assert_eq!(layers[0].digest, base.manifest.layers[0].digest);
    assert_eq!(layers[0].media_type, media_type::LAYER_GZIP);
    assert_eq!(layers[1].media_type, media_type::LAYER);
    assert_eq!(layers[1].digest, image.config.rootfs.diff_ids[1].0);
    validate(&store, &image).unwrap();
    assert_eq!(snapshot_of(&store, &image).unwrap(), Some(top));
    // Without the base the same layer is described plainly, and is there too.
    let plain = NewImage {
        top: Some(top),
        base: None,
        config: image.config.clone(),
        names: Vec::new(),
    };
    let plain = assemble(&store, &plain).unwrap();
    assert_eq!(plain.manifest.layers[0].digest, diff(&layer).0);
    validate(&store, &plain).unwrap();
}

#[test]
fn a_changed_tree_is_noticed() {
    let store = Temp::new();
    let top = store.layer(None, &[("a", "1")]);
    let image = build(&store, Some(top), 1, "x");
    std::fs::write(crate::snapshot::layer_dir(&store, top).join("a"), "2").unwrap();
    assert!(matches!(
        validate(&store, &image),
        Err(Error::Damaged { .. })
    ));
    let mut image = image;
    image.config.history.clear();
    image.manifest.config.size = 1;
    assert!(matches!(
        validate(&store, &image),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn images_are_found_by_name_and_id() {
    let store = Temp::new();
    let image = build(&store, None, 0, "user/app:1");
    let hex = image.id.0.hex();
    for text in [
        "user/app:1",
        "docker.io/user/app:1",
        &image.id.to_string(),
        &hex,
        &hex[..12],
        &hex[..2],
        &format!("sha256:{}", &hex[..7]),
        &format!("user/app@{}", image.manifest_digest),
    ] {
        assert_eq!(find(&store, text).unwrap().id, image.id, "{text}");
    }
    let all = find_all(&store).unwrap();
    assert_eq!(all[0].1, ["user/app:1"]);
}

#[test]
fn what_is_not_there_is_named_as_docker_does() {
    let store = Temp::new();
    let check = |text: &str, expected: &str| {
        assert_eq!(find(&store, text).unwrap_err().to_string(), expected);
    };
    let id = "0".repeat(64);
    check("x", "No such image: x:latest");
    check("user/x:1", "No such image: user/x:1");
    check("docker.io/library/x", "No such image: x:latest");
    check("0123456789ab", "No such image: 0123456789ab:latest");
    check(&id, &format!("No such image: sha256:{id}"));
    check(
        &format!("sha256:{id}"),
        &format!("No such image: sha256:{id}"),
    );
    assert!(matches!(find(&store, "No"), Err(Error::Reference(_))));
}

#[test]
fn a_name_wins_over_an_id_and_short_ids_may_be_ambiguous() {
    let store = Temp::new();
    let image = build(&store, None, 0, "x");
    let short = image.id.0.short();
    let other = build(&store, None, 1, &short);
    assert_ne!(image.id, other.id);
    assert_eq!(find(&store, &short).unwrap().id, other.id);
    // Enough images that two begin with the same two digits.
    let ids: Vec<ImageId> = (2..80).map(|n| build(&store, None, n, "x").id).collect();
    let twice = ids.iter().find(|id| {
        let begins = |one: &&ImageId| one.0.hex()[..2] == id.0.hex()[..2];
        ids.iter().filter(begins).count() > 1
    });
    let prefix = twice.unwrap().0.hex()[..2].to_owned();
    assert!(matches!(find(&store, &prefix), Err(Error::Ambiguous(_))));
}

fn lines(removed: Result<Vec<Removed>, Error>) -> Vec<String> {
    removed.unwrap().iter().map(ToString::to_string).collect()
}

fn used(image: &Image, running: bool) -> ImageUse {
    ImageUse {
        container: "0123456789abcdef".to_owned(),
        image: image.id,
        running,
    }
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let store = Temp::new();
    let image = build(&store, None, 0, "x:1");
    store.name_set(&name("y:2"), image.id).unwrap();
    let removed = remove_reference(&store, "x:1", false, &[]);
    assert_eq!(lines(removed), ["Untagged: x:1"]);
    assert!(find(&store, "x:1").is_err());
    let removed = remove_reference(&store, "y:2", false, &[]);
    let deleted = format!("Deleted: {}", image.id);
    assert_eq!(lines(removed), ["Untagged: y:2", &deleted]);
    assert!(matches!(
        find(&store, &image.id.to_string()),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        remove_reference(&store, "y:2", true, &[]),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn by_id_several_names_need_force() {
    let store = Temp::new();
    let image = build(&store, None, 0, "x:1");
    store.name_set(&name("y:2"), image.id).unwrap();
    let short = image.id.0.short();
    let err = remove_reference(&store, &short, false, &[]).unwrap_err();
    let expected = format!(
        "conflict: unable to delete {short} (must be forced) - \
         image is referenced in multiple repositories"
    );
    assert_eq!(err.to_string(), expected);
    let removed = lines(remove_reference(&store, &short, true, &[]));
    let deleted = format!("Deleted: {}", image.id);
    assert_eq!(removed, ["Untagged: x:1", "Untagged: y:2", &deleted]);
    assert_eq!(store.name_list().unwrap(), []);
}

#[test]
fn containers_keep_their_image() {
    let store = Temp::new();
    let image = build(&store, None, 0, "x:1");
    let short = image.id.0.short();
    let text = |text: &str, force: bool, running: bool| {
        let uses = [used(&image, running)];
        remove_reference(&store, text, force, &uses)
            .unwrap_err()
            .to_string()
    };
    let expected = format!(
        "conflict: unable to remove repository reference \"x:1\" (must force) - \
         container 0123456789ab is using its referenced image {short}"
    );
    assert_eq!(text("x:1", false, false), expected);
    let expected = format!(
        "conflict: unable to delete {short} (must be forced) - \
         image is being used by stopped container 0123456789ab"
    );
    assert_eq!(text(&short, false, false), expected);
    let expected = format!(
        "conflict: unable to delete {short} (cannot be forced) - \
         image is being used by running container 0123456789ab"
    );
    assert_eq!(text(&short, true, true), expected);
    // By name a running container's image loses the name only.
    let removed = remove_reference(&store, "x:1", true, &[used(&image, true)]);
    assert_eq!(lines(removed), ["Untagged: x:1"]);
    let removed = remove_reference(&store, &short, true, &[used(&image, false)]);
    assert_eq!(lines(removed), [format!("Deleted: {}", image.id)]);
}
