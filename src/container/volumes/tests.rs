use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().join("d"), dir.path().join("r"));
    let store = Store::open(paths).unwrap();
    (dir, store)
}

fn make(store: &Store, name: &str, label: &str) -> Volume {
    let request = VolumeRequest {
        name: (!name.is_empty()).then(|| name.to_owned()),
        labels: BTreeMap::from([(label.to_owned(), String::new())]),
        options: BTreeMap::new(),
    };
    create_volume(store, request).unwrap()
}

fn names(store: &Store, conditions: &[(&str, &str)]) -> Vec<String> {
    let pairs = conditions.iter();
    let filter = VolumeFilter {
        conditions: pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let volumes = list_volumes(store, &filter).unwrap().into_iter();
    volumes.map(|volume| volume.name).collect()
}

#[test]
fn volumes_are_made_once_found_and_removed() {
    let (_dir, store) = store();
    let first = make(&store, "data", "one");
    let again = make(&store, "data", "two");
    assert_eq!(first, again);
    let unnamed = make(&store, "", "x");
    assert!(unnamed.is_anonymous() && unnamed.name.len() == 64);
    assert_eq!(names(&store, &[("name", "dat")]), ["data"]);
    assert_eq!(names(&store, &[("label", "one")]), ["data"]);
    let without = names(&store, &[("label!", "one")]);
    assert_eq!(without, std::slice::from_ref(&unnamed.name));
    assert_eq!(names(&store, &[("dangling", "false")]), [""; 0]);
    assert_eq!(
        prune_volumes(&store, false, &VolumeFilter::default())
            .unwrap()
            .0,
        [unnamed.name]
    );
    remove_volume(&store, "data", false).unwrap();
    let error = remove_volume(&store, "data", false).unwrap_err();
    assert_eq!(error.to_string(), "get data: no such volume");
    remove_volume(&store, "data", true).unwrap();
    let left = std::fs::read_dir(store.paths().volumes())
        .unwrap()
        .flatten();
    assert_eq!(
        left.map(|entry| entry.file_name()).collect::<Vec<_>>(),
        [".lock"]
    );
}

#[test]
fn wrong_names_lead_nowhere() {
    let (_dir, store) = store();
    for name in ["../x", "a/b", ".lock", "-a", ""] {
        assert!(
            matches!(find_volume(&store, name), Err(Error::NoVolume(_))),
            "{name}"
        );
        assert!(remove_volume(&store, name, false).is_err(), "{name}");
    }
    let request = VolumeRequest {
        name: Some("bad/name".to_owned()),
        ..VolumeRequest::default()
    };
    let error = create_volume(&store, request).unwrap_err().to_string();
    assert!(error.starts_with("create bad/name: \"bad/name\" includes invalid characters"));
}

#[test]
fn a_volume_goes_through_a_tar() {
    let (_dir, store) = store();
    let volume = make(&store, "one", "x");
    std::fs::create_dir(volume.mountpoint.join("d")).unwrap();
    std::fs::write(volume.mountpoint.join("d/file"), "text").unwrap();
    let mut tar = Vec::new();
    export_volume(&store, "one", &mut tar).unwrap();
    let other = make(&store, "two", "x");
    import_volume(&store, "two", &mut tar.as_slice()).unwrap();
    let copied = std::fs::read_to_string(other.mountpoint.join("d/file")).unwrap();
    assert_eq!(copied, "text");
    assert!(import_volume(&store, "two", &mut &b"no tar at all"[..]).is_err());
}
