use super::*;

fn volume(text: &str) -> Result<MountRequest, String> {
    MountRequest::parse_volume(text, Path::new("/work")).map_err(|err| err.to_string())
}

fn mount(text: &str) -> Result<MountRequest, String> {
    MountRequest::parse_mount(text, Path::new("/")).map_err(|err| err.to_string())
}

fn bind(source: &str, target: &str, read_only: bool) -> MountRequest {
    MountRequest::Bind {
        source: PathBuf::from(source),
        target: target.to_owned(),
        read_only,
        propagation: None,
        create: true,
        recursive: BindRecursive::Enabled,
    }
}

fn named(name: Option<&str>) -> MountRequest {
    MountRequest::Volume {
        name: name.map(str::to_owned),
        target: "/d".to_owned(),
        read_only: false,
        copy: true,
        subpath: None,
        labels: Vec::new(),
        options: Vec::new(),
    }
}

#[test]
fn host_paths_names_and_anonymous() {
    assert_eq!(volume("/a:/b").unwrap(), bind("/a", "/b", false));
    assert_eq!(volume("/a/:/b/:ro,z").unwrap(), bind("/a", "/b", true));
    assert_eq!(volume("./x:/b").unwrap(), bind("/work/x", "/b", false));
    assert_eq!(volume("..:/b").unwrap(), bind("/", "/b", false));
    assert_eq!(volume("data:/d").unwrap(), named(Some("data")));
    assert_eq!(volume("/d").unwrap(), named(None));
}

#[test]
fn wrong_volumes_are_refused() {
    assert_eq!(volume("/a:/b:nosuch").unwrap_err(), "invalid mode: nosuch");
    assert!(volume("a/../b:/b").unwrap_err().contains("volume name"));
    assert!(volume("/tmp:rel").unwrap_err().contains("must be absolute"));
    assert!(volume("rel").unwrap_err().contains("must be absolute"));
    for text in ["", ":/b", "/a:", "/a:/b:ro:z", "data:/d:shared"] {
        assert!(volume(text).is_err(), "{text}");
    }
}

#[test]
fn the_long_form() {
    let MountRequest::Bind {
        source,
        read_only: true,
        create: false,
        ..
    } = mount("type=bind,source=/h,target=/c,readonly").unwrap()
    else {
        panic!("a read-only bind mount");
    };
    assert_eq!(source, Path::new("/h"));
    assert_eq!(
        mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap(),
        MountRequest::Tmpfs {
            target: "/t".to_owned(),
            options: "noexec,size=1048576,mode=700".to_owned(),
            read_only: false,
        }
    );
    assert_eq!(mount("src=data,dst=/d").unwrap(), named(Some("data")));
    let MountRequest::Volume {
        subpath,
        options,
        labels,
        ..
    } = mount(
        "type=volume,dst=/d,volume-subpath=a/b,volume-label=k=v,\"volume-opt=o=size=1m,uid=2\"",
    )
    .unwrap()
    else {
        panic!("a volume");
    };
    assert_eq!(subpath.as_deref(), Some("a/b"));
    assert_eq!(labels, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(options, [("o".to_owned(), "size=1m,uid=2".to_owned())]);
    assert_eq!(
        mount("type=image,source=busybox,target=/i,image-subpath=bin").unwrap(),
        MountRequest::Image {
            image: "busybox".to_owned(),
            target: "/i".to_owned(),
            subpath: Some("bin".to_owned()),
        }
    );
}

#[test]
fn wrong_long_forms_are_told() {
    for (text, message) in [
        ("type=nosuch,target=/x", "invalid mount type: nosuch"),
        ("type=bind,target=/x", "field Source must not be empty"),
        ("source=/x", "target is required"),
        ("bogus=1,target=/x", "unexpected key 'bogus' in 'bogus=1'"),
        (
            "type=tmpfs,dst=/x,tmpfs-size=lots",
            "invalid value for tmpfs-size: lots",
        ),
        (
            "type=tmpfs,dst=/x,src=y",
            "field Source must not be specified",
        ),
        (
            "type=bind,src=/a,dst=/x,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
        (
            "type=volume,dst=/x,volume-subpath=../..",
            "subpath must be a relative path",
        ),
        (
            "type=volume,dst=/x,volume-subpath=/a",
            "subpath must be a relative path",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=readonly",
            "requires 'readonly'",
        ),
        (
            "type=bind,src=/a,dst=/x,bind-recursive=no",
            "invalid value for bind-recursive: no",
        ),
        (
            "type=volume,dst=/x,volume-driver=other",
            "plugin \"other\" not found",
        ),
        (
            "type=volume,dst=/x,\"volume-opt",
            "invalid mount specification",
        ),
    ] {
        let error = mount(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}
