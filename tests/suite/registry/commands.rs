//! The commands on registries, against real ones; skopeo is asked what they did.

use std::process::Command;

use rbuild::oci::Digest;
use serde_json::Value;

use crate::support::{
    Answer, Home, HttpServer, Need, Outcome, PASSWORD, RegistryServer, USER, finish, needs,
    run_other,
};

const NEEDS: [Need; 3] = [Need::Root, Need::DockerRegistry, Need::Skopeo];

/// What an image is on a registry, by skopeo: its bytes.
fn raw(name: &str) -> Vec<u8> {
    let name = format!("docker://{name}");
    run_other("skopeo", &["inspect", "--raw", "--tls-verify=false", &name])
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Puts an image for two platforms on a registry by skopeo; `content` makes it one of its own.
fn two_platforms(home: &Home, name: &str, content: &str) {
    home.file("context/amd64", "a");
    home.file("context/arm64", "b");
    home.file("context/both", content);
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nCOPY both /\n";
    let dockerfile = home.file("context/Dockerfile", dockerfile);
    let archive = home.scratch().join("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let context = dockerfile.parent().unwrap().to_str().unwrap();
    let platforms = "linux/amd64,linux/arm64";
    home.run(&["build", "--platform", platforms, "-o", &output, context])
        .ok();
    let (from, to) = (
        format!("oci-archive:{}", archive.display()),
        format!("docker://{name}"),
    );
    run_other(
        "skopeo",
        &["copy", "-q", "--all", "--dest-tls-verify=false", &from, &to],
    );
}

/// Digests of the manifests that an index names.
fn named(index: &[u8]) -> Vec<String> {
    let index = json(index);
    let digest = |one: &Value| one["digest"].as_str().unwrap().to_owned();
    let manifests = index["manifests"].as_array().unwrap();
    manifests.iter().map(digest).collect()
}

#[test]
fn an_image_is_copied_as_it_is() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, a, b) = (
        Home::new(),
        RegistryServer::plain(),
        RegistryServer::plain(),
    );
    let source = format!("{}/lib/app:1", a.host());
    two_platforms(&home, &source, "copied");
    let index = raw(&source);
    let digest = Digest::of(&index).to_string();

    let there = format!("{}/x/app:2", b.host());
    let told = home
        .run(&["image", "copy", &source, &there])
        .ok()
        .to_owned();
    assert!(
        told.contains("Copied") && told.contains("3 manifests"),
        "{told}"
    );
    assert!(
        told.contains(&format!("2: digest: {digest} size: ")),
        "{told}"
    );
    assert_eq!(raw(&there), index);
    for manifest in named(&index) {
        let name = format!("{}/x/app@{manifest}", b.host());
        let parsed = json(&raw(&name));
        assert!(parsed["layers"].is_array());
    }
    let again = home
        .run(&["image", "copy", &source, &there])
        .ok()
        .to_owned();
    assert!(again.contains("no layer had to be sent"), "{again}");

    // On one registry nothing is sent at all; without a tag it keeps its own.
    let beside = format!("{}/y/app", a.host());
    let told = home
        .run(&["image", "copy", &source, &beside])
        .ok()
        .to_owned();
    assert!(told.contains("Mounted from lib/app"), "{told}");
    assert_eq!(raw(&format!("{beside}:1")), index);

    // One platform is a manifest, several are an index of them.
    let one = format!("{}/x/one:1", b.host());
    let platform = ["--platform", "linux/arm64"];
    home.run(&[&["image", "copy", "-q"], &platform[..], &[&source, &one]].concat())
        .ok();
    assert_eq!(Digest::of(&raw(&one)).to_string(), named(&index)[1]);
    let listed = format!("{}/x/one:2", b.host());
    let arguments = ["image", "copy", "-q", "--prefer-index"];
    home.run(&[&arguments[..], &platform, &[&source, &listed]].concat())
        .ok();
    assert_eq!(named(&raw(&listed)), [named(&index)[1].clone()]);
    let missing = ["image", "copy", "--platform", "linux/s390x", &source, &one];
    home.run(&missing).fails(1, "linux/amd64, linux/arm64");

    // All tags.
    let target = format!("{}/all/app", b.host());
    home.run(&["image", "copy", &source, &format!("{}/lib/app:3", a.host())])
        .ok();
    home.run(&[
        "image",
        "copy",
        "-a",
        &format!("{}/lib/app", a.host()),
        &target,
    ])
    .ok();
    let tags = home.run(&["registry", "tags", &target]).ok().to_owned();
    let mut tags: Vec<&str> = tags.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "3"]);
    home.run(&["image", "copy", &format!("{}/no/such", a.host()), &target])
        .fails(1, "not found");
}

#[test]
fn lists_are_put_together_annotated_and_pushed() {
    if !needs(&NEEDS) || !needs(&[Need::Busybox]) {
        return;
    }
    let (home, server) = (Home::with_busybox(), RegistryServer::plain());
    let host = server.host();
    let source = format!("{host}/lib/app:1");
    two_platforms(&home, &source, "listed");
    let digests = named(&raw(&source));
    let (amd, arm) = (
        format!("{host}/lib/app@{}", digests[0]),
        format!("{host}/lib/app@{}", digests[1]),
    );
    let list = format!("{host}/multi/app:1");
    let created = home.run(&["manifest", "create", &list, &amd, &arm]);
    assert_eq!(created.ok(), format!("Created manifest list {list}"));
    home.run(&["manifest", "create", &list, &amd]).fails(
        1,
        "refusing to amend an existing manifest list with no --amend flag",
    );
    home.run(&["manifest", "create", &list, &source])
        .fails(1, "refusing to amend");
    home.run(&["manifest", "create", "--amend", &list, &source])
        .fails(1, &format!("{source} is a manifest list"));
    let missing = format!("{host}/lib/app:none");
    home.run(&["manifest", "create", "--amend", &list, &missing])
        .fails(1, &format!("no such manifest: {missing}"));
    let annotate = ["manifest", "annotate", "--arch", "arm64", "--variant", "v9"];
    let more = ["--os-version", "10", "--os-features", "a,b", &list, &arm];
    home.run(&[&annotate[..], &more].concat()).ok();
    home.run(&["manifest", "annotate", "--arch", "foo", &list, &arm])
        .fails(1, "unsupported os/arch combination: linux/foo");
    home.run(&["manifest", "annotate", &list, &missing]).fails(
        1,
        &format!("manifest for image {missing} does not exist in {list}"),
    );

    // An image of the store goes with it.
    let added = home.run(&["manifest", "add", "--variant", "v2", &list, "busybox"]);
    assert_eq!(added.ok(), list);
    let shown = json(&home.run(&["manifest", "inspect", &list]).stdout);
    assert_eq!(shown["manifests"][1]["platform"]["os.features"][1], "b");
    assert_eq!(shown["manifests"][2]["platform"]["variant"], "v2");
    let pushed = home.run(&["manifest", "push", &list]);
    let digest = pushed.ok().lines().last().unwrap();
    let bytes = raw(&list);
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    assert!(pushed.ok().contains("Pushed ref "), "{pushed:?}");
    let there = json(&bytes);
    assert_eq!(there["manifests"][0]["digest"], digests[0]);
    assert_eq!(there["manifests"][1]["platform"]["os.version"], "10");
    let member = there["manifests"][2]["digest"].as_str().unwrap();
    let image = json(&raw(&format!("{host}/multi/app@{member}")));
    assert_eq!(image["layers"].as_array().unwrap().len(), 1);
    // What was pushed is one image to everybody.
    home.run(&["pull", "--platform", "linux/amd64", &list]).ok();

    assert_eq!(home.run(&["manifest", "exists", &list]).code, 0);
    assert_eq!(home.run(&["manifest", "ls"]).ok(), list);
    home.run(&["manifest", "remove", &list, &digests[0]]).ok();
    home.run(&["manifest", "push", "--purge", &list]).ok();
    assert_eq!(named(&raw(&list)).len(), 2);
    assert_eq!(home.run(&["manifest", "exists", &list]).code, 1);
    home.run(&["manifest", "push", &list])
        .fails(1, &format!("{list} not found"));
    home.run(&["manifest", "rm", &list])
        .fails(1, &format!("no such manifest: {list}"));
    let verbose = json(&home.run(&["manifest", "inspect", "-v", &list]).stdout);
    assert_eq!(verbose[0]["Descriptor"]["digest"], digests[1]);
}

#[test]
fn images_are_made_of_others() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, server) = (Home::new(), RegistryServer::plain());
    let host = server.host();
    let source = format!("{host}/lib/app:1");
    two_platforms(&home, &source, "combined");
    let digests = named(&raw(&source));
    let target = format!("{host}/lib/made:1");
    let create = |arguments: &[&str]| {
        let all = [
            &["buildx", "imagetools", "create", "-t", &target],
            arguments,
        ]
        .concat();
        home.run(&all)
    };
    create(&[&format!("{host}/lib/app@{}", digests[0])]).ok();
    assert_eq!(named(&raw(&target)), digests[..1]);
    create(&["--append", &format!("{host}/lib/app@{}", digests[1])]).ok();
    assert_eq!(named(&raw(&target)), digests);
    // A single index is copied as it is; annotated it is another.
    create(&[&source]).ok();
    assert_eq!(raw(&target), raw(&source));
    let before = raw(&target);
    let dry = create(&["--dry-run", "--annotation", "index:k=v", &source]);
    assert_eq!(json(&dry.stdout)["annotations"]["k"], "v");
    assert_eq!(raw(&target), before);
    let one = create(&["--prefer-index=false", "--platform", "linux/arm64", &source]);
    one.ok();
    assert_eq!(named(&raw(&target)), digests[1..]);
    let shown = home
        .run(&["imagetools", "inspect", &source])
        .ok()
        .to_owned();
    assert!(
        shown.starts_with(&format!("Name:      {source}\nMediaType: ")),
        "{shown}"
    );
    assert!(shown.contains("Platform:    linux/arm64"), "{shown}");
    let digest = home.run(&[
        "imagetools",
        "inspect",
        &source,
        "--format",
        "{{.Manifest.Digest}}",
    ]);
    assert_eq!(digest.ok(), Digest::of(&raw(&source)).to_string());
}

#[test]
fn an_image_is_looked_at_without_being_pulled() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, server) = (Home::new(), RegistryServer::plain());
    let name = format!("{}/lib/app:1", server.host());
    two_platforms(&home, &name, "looked at");
    let bytes = raw(&name);
    let inspect = |arguments: &[&str]| {
        home.run(&[&["image", "inspect", "--remote"], arguments, &[&name]].concat())
    };
    assert_eq!(inspect(&["--raw"]).stdout, bytes);
    let manifest = inspect(&["--raw", "--platform", "linux/arm64"]).stdout;
    assert_eq!(Digest::of(&manifest).to_string(), named(&bytes)[1]);
    let shown = json(&inspect(&["--platform", "linux/arm64"]).stdout);
    assert_eq!(shown[0]["Architecture"], "arm64");
    assert_eq!(shown[0]["Id"], json(&manifest)["config"]["digest"]);
    assert_eq!(shown[0]["RepoTags"][0], name);
    assert_eq!(
        shown[0]["Descriptor"]["digest"],
        Digest::of(&bytes).to_string()
    );
    assert_eq!(
        shown[0]["Manifests"][0]["ImageData"]["Platform"]["architecture"],
        "amd64"
    );
    assert_eq!(shown[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(home.run(&["images", "-q"]).ok(), "");
    let missing = format!("{}/lib/app:2", server.host());
    home.run(&["image", "inspect", "--remote", &missing])
        .fails(1, "not found");
}

#[test]
fn tags_are_listed_and_removed() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, server) = (Home::new(), RegistryServer::plain());
    let repository = format!("{}/lib/app", server.host());
    let name = |tag: &str| format!("{repository}:{tag}");
    two_platforms(&home, &name("1"), "first");
    two_platforms(&home, &name("other"), "second");
    for tag in ["1.0", "1.1"] {
        home.run(&["image", "copy", &name("1"), &name(tag)]).ok();
    }
    let tags = |arguments: &[&str]| {
        let outcome = home.run(&[&["registry", "tags", &repository], arguments].concat());
        let mut tags: Vec<String> = outcome.ok().lines().map(str::to_owned).collect();
        tags.sort();
        tags
    };
    assert_eq!(tags(&[]), ["1", "1.0", "1.1", "other"]);
    assert_eq!(tags(&["-f", "name=1.*"]), ["1.0", "1.1"]);
    assert_eq!(tags(&["--limit", "2"]).len(), 2);
    let line = home.run(&[
        "image",
        "tags",
        &repository,
        "-f",
        "other",
        "--format",
        "json",
    ]);
    assert_eq!(json(line.ok().as_bytes())["Repository"], repository);
    let repositories = home.run(&["registry", "repos", server.host()]);
    assert_eq!(repositories.ok(), "lib/app");
    home.run(&["registry", "tags", &name("1")])
        .fails(1, "more than a repository");

    // This registry removes manifests alone: that is asked first.
    let refused = home.run(&["registry", "rm", &name("1.0")]);
    refused.fails(1, "was not removed");
    assert!(refused.stderr.contains("go too: 1, 1.1"), "{refused:?}");
    let removed = home.run_with(&["registry", "rm", &name("1.0")], b"y\n");
    assert!(
        removed.ok().contains(&format!("Untagged: {}", name("1.1"))),
        "{removed:?}"
    );
    assert_eq!(tags(&[]), ["other"]);
    home.run(&["registry", "rm", &name("1")])
        .fails(1, "not found");
    home.run(&["registry", "rm", &repository])
        .fails(1, "neither tag nor digest");

    // A manifest that a list names is not taken out of it unasked.
    let member = format!("{repository}@{}", named(&raw(&name("other")))[0]);
    let refused = home.run(&["registry", "rm", &member]);
    refused.fails(1, "broken without it: other");
    home.run(&["registry", "rm", "--force", &member]).ok();
    home.run(&["registry", "rm", "-f", &name("other")]).ok();
    assert_eq!(tags(&[]), [""; 0]);
}

#[test]
fn artifacts_are_attached_listed_and_copied() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, a, b) = (
        Home::new(),
        RegistryServer::plain(),
        RegistryServer::plain(),
    );
    let name = format!("{}/lib/app:1", a.host());
    two_platforms(&home, &name, "attached");
    let file = home.file("sbom.json", "{\"a\":1}");
    let file = format!("{}:application/spdx+json", file.display());
    let kind = ["--artifact-type", "application/vnd.example.sbom"];
    let attach = |arguments: &[&str]| {
        let all = [&["registry", "attach", "-q", &name], arguments].concat();
        home.run(&all).ok().to_owned()
    };
    let attached = attach(&[&kind[..], &["--annotation", "k=v", &file]].concat());
    // The same once more is the same.
    assert_eq!(
        attach(&[&kind[..], &["--annotation", "k=v", &file]].concat()),
        attached
    );
    let note = attach(&[
        "--artifact-type",
        "text/x-note",
        "--annotation",
        "note=here",
    ]);
    let manifest = json(&raw(&attached));
    let index = raw(&name);
    let digest = Digest::of(&index);
    assert_eq!(manifest["artifactType"], "application/vnd.example.sbom");
    assert_eq!(manifest["subject"]["digest"], digest.to_string());
    assert_eq!(manifest["layers"][0]["mediaType"], "application/spdx+json");
    let title = "org.opencontainers.image.title";
    assert_eq!(manifest["layers"][0]["annotations"][title], "sbom.json");
    assert_eq!(manifest["annotations"]["k"], "v");

    // This registry keeps no list of referrers: it is under a tag.
    let tag = format!("sha256-{}", digest.hex());
    let listed = raw(&format!("{}/lib/app:{tag}", a.host()));
    assert_eq!(named(&listed).len(), 2);
    let referrers = |name: &str, arguments: &[&str]| {
        let format = ["--format", "{{.Name}}"];
        let outcome =
            home.run(&[&["registry", "referrers", name], &format[..], arguments].concat());
        let mut names: Vec<String> = outcome.ok().lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let mut both = [attached.clone(), note.clone()];
    both.sort();
    assert_eq!(referrers(&name, &[]), both);
    assert_eq!(
        referrers(&name, &["--artifact-type", "text/x-note"]),
        [note]
    );
    assert!(referrers(&name, &["--platform", "linux/arm64"]).is_empty());

    let there = format!("{}/x/app:1", b.host());
    home.run(&["image", "copy", &name, &there]).ok();
    assert!(referrers(&there, &[]).is_empty());
    home.run(&["image", "copy", "--referrers", &name, &there])
        .ok();
    let copied = referrers(&there, &[]);
    let moved =
        |name: &String| name.replace(&format!("{}/lib", a.host()), &format!("{}/x", b.host()));
    assert_eq!(copied, both.iter().map(moved).collect::<Vec<_>>());
    home.run(&["registry", "attach", &name, "--artifact-type", "nonsense"])
        .fails(1, "is no artifact type");
}

#[test]
fn a_search_asks_the_registry_or_its_catalog() {
    if !needs(&NEEDS) {
        return;
    }
    let home = Home::new();
    let hub = HttpServer::plain(|asked| match asked.path() {
        "/v1/search" if asked.query("q") == ["bb"] && asked.query("n") == ["25"] => {
            let text = r#"{"results":[
                {"name":"bb/few","description":"Few\nstars","star_count":2},
                {"name":"bb","description":"A description that is much longer than what a table has room for",
                 "star_count":30,"is_official":true}]}"#;
            Answer::new(200).body(text)
        }
        _ => Answer::new(404),
    });
    let mute = HttpServer::plain(|_| Answer::new(404));
    let plain = |host: &str| format!("[registry.\"{host}\"]\nplain-http = true\n");
    let settings = plain(&hub.host()) + &plain(&mute.host());
    let settings = home.file("registries.toml", settings);
    let run = |arguments: &[&str]| {
        let mut command = home.command(&[&["search"], arguments].concat());
        command.env("RBUILD_REGISTRIES", &settings);
        finish(command, b"")
    };
    let term = format!("{}/bb", hub.host());
    let table = run(&[&term]).ok().to_owned();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME      DESCRIPTION "), "{table}");
    assert!(
        lines[1].starts_with("bb        A description that is much longer"),
        "{table}"
    );
    assert!(
        lines[1].contains('…') && lines[1].ends_with("30        [OK]"),
        "{table}"
    );
    assert!(lines[2].starts_with("bb/few    Few stars "), "{table}");
    let search = |arguments: &[&str]| run(&[arguments, &[&term]].concat());
    assert_eq!(
        search(&["-f", "stars=3", "--format", "{{.Name}}"]).ok(),
        "bb"
    );
    assert_eq!(
        search(&["-f", "is-official=false", "--format", "{{.StarCount}}"]).ok(),
        "2"
    );
    let row = json(
        search(&["-f", "is-official=true", "--format", "json"])
            .ok()
            .as_bytes(),
    );
    assert_eq!(row["IsOfficial"], "true");
    let whole = search(&["--no-trunc"]).ok().to_owned();
    assert!(whole.contains("room for"), "{whole}");
    search(&["--limit", "200"]).fails(1, "limit 200 is outside the range of [1, 100]");
    search(&["-f", "foo=1"]).fails(1, "invalid filter 'foo'");

    let server = RegistryServer::plain();
    two_platforms(&home, &format!("{}/lib/app:1", server.host()), "found");
    let found = home.run(&[
        "search",
        "--format",
        "{{.Name}}",
        &format!("{}/APP", server.host()),
    ]);
    assert_eq!(found.ok(), format!("{}/lib/app", server.host()));
    assert!(found.stderr.contains("has no search"), "{found:?}");
    run(&[&format!("{}/x", mute.host())]).fails(
        1,
        "has no search (/v1/search) and does not tell its repositories",
    );
}

#[test]
fn a_login_says_what_dockers_says() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, server) = (Home::new(), RegistryServer::with_password());
    let host = server.host();
    let text = format!("[registry.\"{host}\"]\nca = {:?}\n", server.ca());
    let settings = home.file("registries.toml", text);
    let client = home.scratch().join("client");
    let arrange = |mut command: Command| {
        command
            .env("RBUILD_REGISTRIES", &settings)
            .env("DOCKER_CONFIG", &client);
        command
    };
    let run = |arguments: &[&str], input: &str| -> Outcome {
        finish(arrange(home.command(arguments)), input.as_bytes())
    };
    run(&["login", host], "").fails(
        1,
        "Cannot perform an interactive login from a non TTY device",
    );
    run(&["login", "--password-stdin", host], PASSWORD).fails(
        1,
        "the --password-stdin option requires --username to be set",
    );
    run(
        &["login", "-u", USER, "-p", "x", "--password-stdin", host],
        "",
    )
    .fails(
        1,
        "conflicting options: cannot specify both --password and --password-stdin",
    );
    run(&["login", "-u", USER, "--password-stdin", host], "wrong").fails(1, "unauthorized");
    let warned = run(&["login", "-u", USER, "-p", PASSWORD, host], "");
    assert_eq!(warned.ok(), "Login Succeeded");
    for part in [
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        "WARNING! Your credentials are stored unencrypted in '",
    ] {
        assert!(warned.stderr.contains(part), "{warned:?}");
    }
    let again = run(&["login", host], "");
    let existing = format!("Authenticating with existing credentials... [Username: {USER}]");
    assert_eq!(again.ok(), format!("{existing}\nLogin Succeeded"));
    let logout = format!("Removing login credentials for {host}");
    assert_eq!(run(&["logout", host], "").ok(), logout);
    assert_eq!(run(&["logout", host], "").ok(), logout);
    run(&["registry", "repos", host], "").fails(1, "unauthorized");
}

#[test]
fn a_password_is_typed_unseen() {
    if !needs(&NEEDS) {
        return;
    }
    let (home, server) = (Home::new(), RegistryServer::with_password());
    let host = server.host();
    let text = format!("[registry.\"{host}\"]\nca = {:?}\n", server.ca());
    let settings = home.file("registries.toml", text);
    let client = home.scratch().join("client");
    let typed = [
        ("Username: ", "tester\n"),
        ("Password: ", "wrong\x15correct-horse\r"),
    ];
    let (settings, client) = (settings.to_str().unwrap(), client.to_str().unwrap());
    let variables = [("RBUILD_REGISTRIES", settings), ("DOCKER_CONFIG", client)];
    let (code, shown) = home.run_on_terminal_with(&["login", host], &variables, &typed);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("Login Succeeded"), "{shown}");
    assert!(
        !shown.contains(PASSWORD) && !shown.contains("wrong"),
        "{shown}"
    );
    // Whoever gives up gets out, and the terminal shows again what is typed.
    let (code, _) = home.run_on_terminal_with(
        &["login", "-u", "tester", host],
        &variables,
        &[("Password: ", "half\x03")],
    );
    assert_eq!(code, 130);
}
