//! Caches in registries and in images, and what bad ones do: nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rbuild::oci::{Digest, Reference};
use rbuild::registry::{Access, Client, Keyring, Target};
use serde_json::{Value, json};

use crate::build::{Project, RUNS};
use crate::support::{Need, Outcome, PASSWORD, RegistryServer, USER, finish, needs, run_other};

/// Two stages, times in their results, a file from one in the other, and much in
/// the first that the second has not.
const DOCKERFILE: &str = "FROM busybox AS make\n\
    COPY src /src\n\
    RUN cat /src/* > /all; head -c 400000 /dev/urandom > /much; date +%s%N > /stamp\n\
    FROM busybox\n\
    COPY --from=make /all /stamp /\n\
    RUN cp /all /copy && cat /proc/sys/kernel/random/uuid > /own\n\
    LABEL l=1\n";
const STEPS: [&str; 4] = [
    "COPY src /src",
    "RUN cat /src/* > /all; head -c 400000 /dev/urandom > /much; date +%s%N > /stamp",
    "COPY --from=make /all /stamp /",
    "RUN cp /all /copy && cat /proc/sys/kernel/random/uuid > /own",
];

/// What the tests here need.
fn ready() -> bool {
    needs(&RUNS) && needs(&[Need::DockerRegistry])
}

fn project() -> Project {
    let project = Project::on_busybox(DOCKERFILE);
    project.file("src/a", "a\n");
    project.file("src/b", "b\n");
    project
}

fn name(server: &RegistryServer, path: &str) -> String {
    format!("{}/{path}", server.host())
}

fn to(server: &RegistryServer, more: &str) -> String {
    format!(
        "--cache-to=type=registry,ref={}{more}",
        name(server, "lib/app:cache")
    )
}

fn from(server: &RegistryServer) -> String {
    format!("--cache-from={}", name(server, "lib/app:cache"))
}

/// The warnings at the end of a build.
fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines();
    lines.filter(|line| line.starts_with(" - ")).collect()
}

/// What a registry was asked: method, path, and the bytes of its answer.
fn asked(server: &RegistryServer) -> Vec<(String, String, u64)> {
    let value = |line: &str, key: &str| {
        let rest = line.split_once(&format!("{key}="))?.1;
        let rest = rest.trim_start_matches('"');
        let end = rest.find(['"', ' ']).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let log = server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("response completed"));
    lines
        .filter_map(|line| {
            Some((
                value(line, "http.request.method")?,
                value(line, "http.request.uri")?,
                value(line, "http.response.written")?.parse().ok()?,
            ))
        })
        .collect()
}

/// The blobs that were fetched since an earlier moment, and their bytes.
fn fetched(server: &RegistryServer, before: usize) -> (usize, u64) {
    let all = asked(server);
    let blobs = all[before..]
        .iter()
        .filter(|(method, path, _)| method == "GET" && path.contains("/blobs/"));
    blobs.fold((0, 0), |(count, sum), (_, _, bytes)| {
        (count + 1, sum + bytes)
    })
}

/// The uploads since an earlier moment.
fn uploads(server: &RegistryServer, before: usize) -> usize {
    let all = asked(server);
    let sent = all[before..].iter();
    sent.filter(|(method, path, _)| method == "PUT" && path.contains("/blobs/uploads/"))
        .count()
}

/// A client without credentials.
fn client() -> std::sync::Arc<Client> {
    let keyring = Keyring::new(BTreeMap::new(), None);
    let access = Access::new("/nonexistent".into(), keyring, BTreeMap::new());
    access.client().unwrap()
}

/// The manifest of the cache.
fn manifest(server: &RegistryServer) -> Value {
    let reference: Reference = name(server, "lib/app:cache").parse().unwrap();
    let fetched = client().manifest(&reference).unwrap();
    serde_json::from_slice(&fetched.bytes).unwrap()
}

/// Puts a document there as a cache.
fn put(server: &RegistryServer, document: &Value, blobs: &[&[u8]]) {
    let reference: Reference = name(server, "lib/app:cache").parse().unwrap();
    let client = client();
    for bytes in blobs {
        let digest = Digest::of(bytes);
        let target = client.begin_upload(&reference, Some(digest), None).unwrap();
        if let Target::Send(upload) = target {
            let bytes = bytes.to_vec();
            let size = bytes.len() as u64;
            let mut source = |_at: u64| {
                let reader: Box<dyn std::io::Read + Send> =
                    Box::new(std::io::Cursor::new(bytes.clone()));
                Ok((reader, Some(size)))
            };
            upload
                .send(&mut source, Some(size), digest, &|_| {})
                .unwrap();
        }
    }
    let kind = document["mediaType"].as_str().unwrap();
    let bytes = serde_json::to_vec(document).unwrap();
    client.put_manifest(&reference, kind, &bytes).unwrap();
}

#[test]
fn nothing_runs_on_an_empty_data_root() {
    if !ready() {
        return;
    }
    for (mode, layers) in [
        (",mode=max", 4),
        (",mode=min", 2),
        (",mode=max,compression=zstd,image-manifest=true", 4),
        (",mode=max,compression=uncompressed", 4),
        (",mode=max,oci-mediatypes=false", 4),
    ] {
        let server = RegistryServer::plain();
        let project = project();
        let outcome = project.build(&[&to(&server, mode)]);
        assert!(warnings(&outcome).is_empty(), "{mode}: {}", outcome.stderr);
        let manifest = manifest(&server);
        assert_eq!(
            manifest["layers"].as_array().unwrap().len(),
            layers,
            "{mode}"
        );
        let other = self::project();
        let outcome = other.build(&[&from(&server)]);
        // With `min` the first stage is unknown and not needed either.
        assert_eq!(outcome.ended("DONE"), [""; 0], "{mode}: {}", outcome.stderr);
        assert_eq!(other.image().id, project.image().id, "{mode}");
        assert_eq!(other.tree(), project.tree(), "{mode}");
        // What was imported is a cache like any other.
        drop(server);
        let outcome = other.build(&[]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "{mode}");
        other.assert_tidy();
    }
}

#[test]
fn registries_that_want_to_know_who_asks_are_told() {
    if !ready() {
        return;
    }
    for server in [
        RegistryServer::with_password(),
        RegistryServer::with_tokens(),
    ] {
        let (project, other) = (project(), project());
        for (project, more) in [
            (&project, to(&server, ",mode=max")),
            (&other, from(&server)),
        ] {
            let home = project.home();
            let config = home.scratch().join("client");
            let settings = home.scratch().join("registries.toml");
            let ca = server.url("").starts_with("https").then(|| server.ca());
            let ca = ca.map(|ca| format!("[registry.\"{}\"]\nca = {ca:?}\n", server.host()));
            std::fs::write(&settings, ca.unwrap_or_default()).unwrap();
            let run = |arguments: &[&str], input: &str| {
                let config = ["--config", config.to_str().unwrap()];
                let mut command = home.command(&[&config, arguments].concat());
                command.env("RBUILD_REGISTRIES", &settings);
                finish(command, input.as_bytes())
            };
            let arguments = project.arguments(&[&more]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if more.starts_with("--cache-to") {
                // Without credentials the export fails, and what to do is said.
                let outcome = run(&arguments, "");
                outcome.fails(1, "unauthorized");
            }
            let login = ["login", "-u", USER, "--password-stdin", server.host()];
            run(&login, PASSWORD).ok();
            let outcome = run(&arguments, "");
            outcome.ok();
            assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
        }
        assert_eq!(project.image().id, other.image().id);
    }
}

#[test]
fn only_what_is_needed_is_fetched() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let text = format!("{DOCKERFILE}FROM scratch\nCOPY --from=1 /own /own\n");
    let with_text = || {
        let project = project();
        project.file("Dockerfile", &text);
        project
    };
    let project = with_text();
    project.build(&[&to(&server, ",mode=max")]);
    // A file that is already made is one layer out of five.
    let before = asked(&server).len();
    let other = with_text();
    let out = other.home().scratch().join("out");
    let local = format!("--output=type=local,dest={}", out.display());
    let outcome = other.try_build(&[&from(&server), &local]);
    outcome.ok();
    assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
    let own = std::fs::read_to_string(out.join("own")).unwrap();
    assert_eq!(own, project.tree().text("own"));
    let (count, bytes) = fetched(&server, before);
    assert!(count == 1 && bytes < 10_000, "{count} blobs, {bytes} bytes");
    // A build that goes nowhere fetches nothing, and asks once.
    let before = asked(&server).len();
    let other = with_text();
    let outcome = other.try_build(&[&from(&server), "--output=type=cacheonly"]);
    outcome.ok();
    assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
    assert_eq!(fetched(&server, before), (0, 0));
    let all = asked(&server);
    let documents = all[before..]
        .iter()
        .filter(|(_, path, _)| path.contains("/manifests/"));
    assert_eq!(documents.count(), 1, "{:?}", &all[before..]);
    // A step that does run needs what it stands on, and nothing of the first stage.
    let before = asked(&server).len();
    let other = self::project();
    other.file(
        "Dockerfile",
        DOCKERFILE.replace("RUN cp /all", "RUN cat /all >"),
    );
    let outcome = other.build(&[&from(&server)]);
    assert_eq!(outcome.ended("DONE").len(), 1, "{}", outcome.stderr);
    let (count, bytes) = fetched(&server, before);
    assert!(count == 1 && bytes < 10_000, "{count} blobs, {bytes} bytes");
    // Who finds everything here asks nobody.
    let before = asked(&server).len();
    project.build(&[&from(&server)]);
    assert_eq!(asked(&server).len(), before);
}

#[test]
fn what_is_there_is_not_sent_again() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let project = project();
    // The image goes first: the cache takes its layers over from it.
    let tag = name(&server, "lib/image:1");
    project.build(&["-t", &tag]);
    project.home().run(&["push", &tag]).ok();
    let before = asked(&server).len();
    let outcome = project.build(&["-t", &tag, &to(&server, ",mode=min")]);
    assert!(
        outcome.stderr.contains("0 layers written"),
        "{}",
        outcome.stderr
    );
    // The list of its records alone.
    assert_eq!(uploads(&server, before), 1, "{:?}", asked(&server));
    // The same once more is no change at all.
    let before = asked(&server).len();
    project.build(&[&to(&server, ",mode=min")]);
    let all = asked(&server);
    let writes = all[before..]
        .iter()
        .filter(|(method, ..)| method != "GET" && method != "HEAD");
    assert_eq!(writes.count(), 0, "{:?}", &all[before..]);
    // From one repository to another nothing passes through here.
    let before = asked(&server).len();
    let other = self::project();
    let target = format!(
        "--cache-to=type=registry,ref={}",
        name(&server, "lib/copy:1")
    );
    let outcome = other.build(&[&from(&server), &target]);
    assert_eq!(uploads(&server, before), 1, "{}", outcome.stderr);
    // What another form is asked for is made in it.
    let target = format!("{target},compression=zstd,force-compression=true");
    let outcome = other.build(&[&target]);
    assert!(
        outcome.stderr.contains("2 layers written"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_export_takes_the_place_of_the_last_unless_its_build_failed() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let project = project();
    project.build(&[&to(&server, ",mode=max")]);
    let layers = |server: &RegistryServer| manifest(server)["layers"].as_array().unwrap().len();
    assert_eq!(layers(&server), 4);
    // What a broken build has is added to what was there.
    let broken = Project::on_busybox("FROM busybox\nRUN echo 1 > /1\nRUN exit 3\n");
    broken
        .try_build(&[&to(&server, ",mode=max")])
        .fails(1, "exit code: 3");
    assert_eq!(layers(&server), 5);
    let other = self::project();
    assert_eq!(other.build(&[&from(&server)]).ended("DONE"), [""; 0]);
    let fixed = Project::on_busybox("FROM busybox\nRUN echo 1 > /1\n");
    let outcome = fixed.build(&[&from(&server), &to(&server, "")]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert_eq!(layers(&server), 1);
    // Nothing but configuration is a cache too.
    let empty = Project::from_scratch("FROM scratch\nLABEL a=b\n");
    empty.build(&[&to(&server, "")]);
    let outcome = empty.build(&[&from(&server)]);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
}

#[test]
fn an_image_takes_its_cache_along() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    for (round, ask) in [
        "--cache-to=type=inline",
        "--build-arg=BUILDKIT_INLINE_CACHE=1",
    ]
    .into_iter()
    .enumerate()
    {
        let tag = name(&server, &format!("lib/inline:{round}"));
        let project = project();
        project.build(&["-t", &tag, ask]);
        let home = project.home();
        home.run(&["push", &tag]).ok();
        let source = format!("--cache-from={tag}");
        let other = self::project();
        let outcome = other.build(&[&source, "-t", &tag, ask]);
        // The first stage is unknown, and nobody needs it.
        assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
        assert_eq!(other.image().id, project.image().id);
        assert_eq!(other.tree(), project.tree());
        // The image itself is a source where it is, without a registry.
        home.run(&["builder", "prune", "-af"]).ok();
        let outcome = project.build(&[&source, "-t", &tag]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "{}", outcome.stderr);
        // An image on top of it says nothing of its cache.
        let text = format!("FROM {tag}\nLABEL x=y\n");
        project.file("Dockerfile", text);
        project.build(&[]);
        let config: Value = serde_json::from_slice(&project.image().config_bytes).unwrap();
        assert_eq!(config.get("rbuild.cache.v1"), None);
        if needs(&[Need::Skopeo]) {
            let image = format!("docker://{tag}");
            let arguments = ["inspect", "--config", "--tls-verify=false", &image];
            let config: Value = serde_json::from_slice(&run_other("skopeo", &arguments)).unwrap();
            assert_eq!(config["config"]["Labels"]["l"], "1");
        }
    }
    // An image without is no source, which is said.
    let plain = project();
    let tag = name(&server, "lib/plain:1");
    plain.build(&["-t", &tag]);
    plain.home().run(&["push", &tag]).ok();
    let outcome = project().build(&[&format!("--cache-from={tag}")]);
    assert_eq!(outcome.ended("DONE"), STEPS);
    let said = warnings(&outcome);
    assert!(
        said.len() == 1 && said[0].contains("has no cache in it"),
        "{said:?}"
    );
}

#[test]
fn caches_that_cannot_be_used_are_warned_of_once() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let check = |part: &str| {
        let other = project();
        let outcome = other.build(&[&from(&server), "--cache-from=127.0.0.1:1/nobody:there"]);
        assert_eq!(outcome.ended("DONE"), STEPS, "{part}");
        let said = warnings(&outcome);
        assert_eq!(said.len(), 2, "{part}: {said:?}");
        assert!(said[0].contains(part), "{part}: {said:?}");
    };
    check("there is no cache");
    let good = project();
    good.build(&[&to(&server, ",mode=max")]);
    let good = manifest(&server);
    // BuildKit's.
    let records = b"{\"layers\":[]}";
    let mut other = good.clone();
    other["config"] = json!({
        "mediaType": "application/vnd.buildkit.cacheconfig.v0",
        "digest": Digest::of(records).to_string(),
        "size": records.len(),
    });
    put(&server, &other, &[records]);
    check("BuildKit made");
    // Records of a later version, no records, and too many.
    let of = |records: &[u8], size: u64| {
        let mut manifest = good.clone();
        manifest["config"] = json!({
            "mediaType": good["config"]["mediaType"],
            "digest": Digest::of(records).to_string(),
            "size": size,
        });
        put(&server, &manifest, &[records]);
    };
    let later = b"{\"version\":9,\"records\":{}}";
    of(later, later.len() as u64);
    check("version 9");
    of(b"no records", 10);
    check("damaged");
    of(b"one", 1 << 40);
    check("too large");
    of(b"other", 3);
    check("5 bytes instead of 3");
    // An embedded copy that is not what its digest says is not looked at.
    let mut manifest = good.clone();
    manifest["config"]["data"] = json!("e30=");
    put(&server, &manifest, &[]);
    let other = project();
    let outcome = other.build(&[&from(&server)]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
}

/// What is done to a blob of a registry.
type Damage = (&'static str, fn(&Path));

#[test]
fn damaged_layers_are_made_again() {
    if !ready() {
        return;
    }
    let damages: [Damage; 4] = [
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("longer", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, [bytes, vec![0; 1 << 20]].concat()).unwrap();
        }),
        ("changed", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let server = RegistryServer::plain();
        let project = project();
        project.build(&[&to(&server, ",mode=max")]);
        for layer in manifest(&server)["layers"].as_array().unwrap() {
            let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
            damage(&server.blob_path(digest));
        }
        let other = self::project();
        let outcome = other.build(&[&from(&server)]);
        assert_eq!(outcome.ended("DONE"), STEPS, "{name}: {}", outcome.stderr);
        assert_eq!(warnings(&outcome).len(), 1, "{name}: {}", outcome.stderr);
        other.assert_tidy();
    }
}

#[test]
fn a_killed_export_leaves_the_cache_of_before() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let text = |round: u64| {
        format!(
            "FROM busybox\nRUN head -c 3000000 /dev/urandom > /1; echo {round}\n\
             RUN head -c 3000000 /dev/urandom > /2\nRUN head -c 3000000 /dev/urandom > /3\n"
        )
    };
    let project = Project::on_busybox(&text(0));
    project.build(&[&to(&server, ",mode=max")]);
    for round in 1..7 {
        let before = manifest(&server);
        let now = Project::on_busybox(&text(round));
        now.build(&[]);
        let mut child = now.start(&[&to(&server, ",mode=max")]);
        std::thread::sleep(Duration::from_millis(40 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let other = Project::on_busybox(&text(round));
        let outcome = other.build(&[&from(&server)]);
        assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
        // All of it or nothing.
        let made = outcome.ended("DONE").len();
        let expected = if manifest(&server) == before { 3 } else { 0 };
        assert_eq!(made, expected, "round {round}");
        now.build(&[&to(&server, ",mode=max")]);
        let other = Project::on_busybox(&text(round));
        let outcome = other.build(&[&from(&server)]);
        assert_eq!(outcome.ended("DONE"), [""; 0], "round {round}");
        assert_eq!(other.image().id, now.image().id);
    }
}

#[test]
fn builds_may_export_to_one_name_at_the_same_time() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let projects: Vec<Project> = (0..3).map(|_| project()).collect();
    let children: Vec<_> = projects
        .iter()
        .map(|project| project.start(&[&to(&server, ",mode=max")]))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let last = project();
    let outcome = last.build(&[&from(&server)]);
    assert_eq!(outcome.ended("DONE"), [""; 0]);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.stderr);
    let ids: Vec<_> = projects.iter().map(|project| project.image().id).collect();
    assert!(ids.contains(&last.image().id));
}

#[test]
fn an_export_that_fails_fails_the_build_unless_told_otherwise() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let target = "--cache-to=type=registry,ref=127.0.0.1:1/a/b:c";
    project.try_build(&[target]).fails(1, "cannot talk to");
    let outcome = project.build(&[&format!("{target},ignore-error=true")]);
    let said = warnings(&outcome);
    assert!(
        said.len() == 1 && said[0].contains("cannot export the cache"),
        "{said:?}"
    );
}

#[test]
fn cache_mounts_go_along() {
    if !ready() {
        return;
    }
    let server = RegistryServer::plain();
    let text = |word: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,id=store,target=/s \
             ls /s > /seen; echo {word} > /s/{word}\n"
        )
    };
    let project = Project::on_busybox(&text("first"));
    project.build(&[&to(&server, ",mounts=store")]);
    let other = Project::on_busybox(&text("second"));
    let outcome = other.build(&[&from(&server)]);
    assert_eq!(outcome.ended("DONE").len(), 1);
    assert_eq!(other.tree().text("seen"), "first\n");
}
