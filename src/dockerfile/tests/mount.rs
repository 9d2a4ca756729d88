use super::*;

fn read(text: &str) -> MountOptions {
    mount_options(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn options_of_each_kind() {
    let bind = read("target=/t,source=s,from=stage");
    assert_eq!(bind.kind, MountKind::Bind);
    assert!(bind.read_only);
    assert_eq!(bind.target.as_deref(), Some("/t"));
    assert_eq!(bind.from.as_deref(), Some("stage"));

    let cache = read("type=cache,dst=/c,id=x,sharing=LOCKED,mode=0750,uid=1,gid=2,ro");
    assert_eq!(cache.sharing, Some(Sharing::Locked));
    assert_eq!(
        (cache.mode, cache.uid, cache.gid),
        (Some(0o750), Some(1), Some(2))
    );
    assert!(cache.read_only);
    assert!(!read("type=cache,target=/c").read_only);

    let tmpfs = read("type=tmpfs,target=/t,size=64m");
    assert_eq!(tmpfs.size_bytes, Some(64 << 20));
    assert!(!tmpfs.read_only);

    let secret = read("type=secret,id=x,required,env=TOKEN");
    assert!(secret.required);
    assert_eq!(secret.env.as_deref(), Some("TOKEN"));
    assert!(!read("type=ssh,required=false").required);
    assert!(!read("rw,target=/t").read_only);
    assert!(!read("TYPE=Bind,destination=/t,readonly=0").read_only);
}

#[test]
fn fields_may_be_quoted() {
    let options = read("type=bind,\"target=/a,b\",\"source=\"\"q\"\"\"");
    assert_eq!(options.target.as_deref(), Some("/a,b"));
    assert_eq!(options.source.as_deref(), Some("\"q\""));
}

#[test]
fn values_are_expanded_one_by_one() {
    let options = mount_options_with("type=cache,target=$x", |value| {
        Ok(value.replace("$x", "/a,ro"))
    })
    .unwrap();
    assert_eq!(options.target.as_deref(), Some("/a,ro"));
    assert!(!options.read_only);
}

#[test]
fn wrong_options() {
    let check = |text: &str, want: &str| {
        assert_eq!(mount_options(text).unwrap_err(), want, "{text}");
    };
    check("", "failed to parse csv mounts: EOF");
    check(
        "a\"b",
        "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted field",
    );
    check(
        "\"a\"b",
        "failed to parse csv mounts: parse error on line 1, column 3: extraneous or missing \" in \
         quoted-field",
    );
    check("target", "invalid field 'target' must be a key=value pair");
    check(
        "typ=cache",
        "unexpected key 'typ' in 'typ=cache' (did you mean type?)",
    );
    check(
        "foo=1",
        "unexpected key 'foo' in 'foo=1' (did you mean from?)",
    );
    check(
        "type=cahce",
        "unsupported mount type \"cahce\" (did you mean cache?)",
    );
    check(
        "type=cache,sharing=all",
        "unsupported sharing value \"all\"",
    );
    check("ro=maybe", "invalid value for ro: maybe");
    check(
        "required,type=secret",
        "unexpected key 'required' for mount type 'bind'",
    );
    check("size=1", "unexpected key 'size' for mount type 'bind'");
    check("type=tmpfs,size=x", "invalid value for size: x");
    check("mode=9", "invalid value 9 for mode");
    check("mode=7", "mode not allowed for \"bind\" type mounts");
    check(
        "type=tmpfs,uid=1",
        "uid not allowed for \"tmpfs\" type mounts",
    );
    check(
        "type=secret",
        "invalid secret mount. one of source, target required",
    );
    check(
        "type=secret,id=a,from=b",
        "secret mount should not have a from",
    );
    check(
        "type=secret,id=a,sharing=private",
        "secret mount should not define sharing",
    );
    check(
        "type=secret,id=a,source=b",
        "both source and id can't be set",
    );
    check(
        "type=ssh,sharing=private",
        "invalid cache sharing set for ssh mount",
    );
}

#[test]
fn devices() {
    let device = device_request("vendor.com/dev=all,required").unwrap();
    assert_eq!(device.name, "vendor.com/dev=all");
    assert!(device.required);
    assert_eq!(device_request("name=x,required=false").unwrap().name, "x");
    let check = |text: &str, want: &str| {
        assert_eq!(device_request(text).unwrap_err(), want, "{text}");
    };
    check("a,name=b", "device name already set to a");
    check("a,b", "invalid field 'b' must be a key=value pair");
    check(
        "a,requird=1",
        "unexpected key 'requird' in 'requird=1' (did you mean required?)",
    );
}
