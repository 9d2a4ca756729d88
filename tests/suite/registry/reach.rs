//! Ways to a registry: mirrors, proxies, plain HTTP, uploads taken up again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rbuild::oci::Digest;

use super::SERVED;
use super::fake::{Content, count, fake};
use super::scene::Scene;
use crate::support::{Answer, HttpServer, Need, RegistryServer, Tunnel, needs};

#[test]
fn mirrors_are_asked_first_and_passed_over_when_they_fail() {
    if !needs(&SERVED) {
        return;
    }
    let content = Content::new();
    let (origin, asked_origin) = fake(&content, |_| None);
    let (mirror, asked_mirror) = fake(&content, |_| None);
    let (empty, _) = fake(&content, |_| Some(Answer::new(404)));
    let (broken, asked_broken) = fake(&content, |asked| {
        asked
            .path()
            .contains("/manifests/")
            .then(|| Answer::new(400))
    });
    let name = format!("{}/a/b:1", origin.host());
    let scene = Scene::new();
    let gone = "127.0.0.1:1".to_owned();
    let mirrors = [gone.clone(), empty.host(), broken.host(), mirror.host()];
    scene.set(&origin.host(), &format!("mirrors = {mirrors:?}"));
    let outcome = scene.run(&["pull", "-q", &name]);
    outcome.ok();
    assert_eq!(count(&asked_origin, "/"), 0);
    // Mirrors of several registries are told which one is meant.
    let host = origin.host();
    assert!(count(&asked_mirror, &format!("/manifests/1?ns={host}")) > 0);
    assert!(count(&asked_broken, "/manifests/") > 0);
    for warned in [gone, broken.host()] {
        let part = format!("WARNING: {warned}: this mirror of {host} is passed over: ");
        assert!(outcome.stderr.contains(&part), "{outcome:?}");
    }
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:?}");
    // Without one that works, the registry itself is asked; what is sent goes there anyway.
    drop(mirror);
    let scene = Scene::new();
    scene.set(&origin.host(), &format!("mirrors = {:?}", [empty.host()]));
    scene.run(&["pull", "-q", &name]).ok();
    assert!(count(&asked_origin, "/manifests/1") > 0);
    // The distribution project's own mirror.
    let server = RegistryServer::plain();
    let mirror = RegistryServer::mirror_of(&server.url(""));
    let name = format!("{}/a/b:1", server.host());
    let source = Scene::new();
    source.image(&name, 30, &[1000, 2000]);
    source.run(&["push", "-q", &name]).ok();
    let scene = Scene::new();
    scene.set(server.host(), &format!("mirrors = {:?}", [mirror.host()]));
    scene.run(&["pull", "-q", &name]).ok();
    assert_eq!(scene.id(&name), source.id(&name));
    assert!(mirror.blobs().len() >= 3, "{:?}", mirror.blobs());
}

#[test]
fn proxies_of_the_environment_are_used() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let (server, _) = fake(&content, |_| None);
    // A name that leads nowhere but through the proxy.
    let host = "registry.invalid:5000";
    let name = format!("{host}/a/b:1");
    let tunnel = Tunnel::to(&server.host());
    let scene = Scene::new().with(
        "HTTP_PROXY",
        format!("http://us%40er:a-secret@{}", tunnel.host()),
    );
    scene.set(host, "plain-http = true");
    scene.run(&["pull", "-q", &name]).ok();
    let asked = tunnel.take_heads();
    assert!(
        asked
            .iter()
            .all(|head| head.starts_with("CONNECT registry.invalid:5000 ")),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|head| head.contains("roxy-")),
        "no password for the proxy: {asked:?}"
    );
    // This machine itself is not asked through one.
    let own = format!("{}/a/b:1", server.host());
    scene.run(&["pull", "-q", &own]).ok();
    assert_eq!(tunnel.take_heads().len(), 0);
    // Exceptions.
    let scene = scene.with("NO_PROXY", "other.example,.invalid");
    let outcome = scene.run(&["pull", "-q", &name.replace(":1", ":2")]);
    outcome.fails(1, "cannot find the host `registry.invalid`");
    assert_eq!(tunnel.take_heads().len(), 0);
    // One that is malformed, or gone, is named without its password.
    let scene = Scene::new().with("HTTP_PROXY", "http://user:a-secret@host:x");
    scene.set(host, "plain-http = true");
    let outcome = scene.run(&["pull", "-q", &name]);
    outcome.fails(1, "is no URL such as http://host:3128");
    assert!(!outcome.stderr.contains("a-secret"), "{outcome:?}");
}

#[test]
fn plain_http_is_for_this_machine_and_for_who_asks_for_it() {
    if !needs(&[Need::Root]) {
        return;
    }
    let content = Content::new();
    let (server, _) = fake(&content, |_| None);
    let tunnel = Tunnel::to(&server.host());
    let host = "registry.invalid:5000";
    let name = format!("{host}/a/b:1");
    let proxy = format!("http://{}", tunnel.host());
    let scene = Scene::new()
        .with("HTTP_PROXY", &proxy)
        .with("HTTPS_PROXY", &proxy);
    let outcome = scene.run(&["pull", "-q", &name]);
    let text = format!(
        "Error: cannot make a secure connection to `{host}`: it does not speak TLS\n  \
         hint: for a registry without TLS that you trust, set `plain-http = true` in registries.toml or use --tls-verify=false\n"
    );
    assert!(
        outcome.code == 1 && (outcome.stderr == text || outcome.stderr.contains("cannot talk to")),
        "{outcome:?}"
    );
    scene.assert_empty();
    scene.run(&["pull", "-q", "--tls-verify=false", &name]).ok();
}

/// What a registry knows of an upload.
#[derive(Default)]
struct Upload {
    /// What arrived, by the place that it was sent to.
    places: BTreeMap<String, Vec<u8>>,
    stumbled: bool,
    ranges: Vec<String>,
    whole: Vec<Digest>,
    closed: u32,
}

#[test]
fn an_upload_goes_on_where_the_registry_is() {
    if !needs(&[Need::Root]) {
        return;
    }
    // The first part arrives, then the registry stumbles, and forgets the answer to the last.
    let state = Arc::new(Mutex::new(Upload::default()));
    let own = Arc::clone(&state);
    let server = HttpServer::plain(move |asked| {
        let mut upload = own.lock().unwrap();
        let place = asked.path().to_owned();
        let range = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
        match (asked.method.as_str(), asked.path()) {
            ("GET", "/v2/") => Answer::new(200),
            ("HEAD", path) => {
                let there = upload
                    .whole
                    .iter()
                    .any(|one| path.ends_with(&one.to_string()));
                Answer::new(if there { 200 } else { 404 })
            }
            ("POST", _) => {
                // Layers and configurations may come side by side.
                let place = format!("/v2/a/b/blobs/uploads/{}", upload.places.len());
                upload.places.insert(place.clone(), Vec::new());
                Answer::new(202).with("Location", &place)
            }
            ("PATCH", _) => {
                let mut bytes = upload.places.remove(&place).unwrap_or_default();
                let room = 100_000_usize.saturating_sub(bytes.len());
                if upload.stumbled && asked.body.len() > 10_000 {
                    // While the layer is still being compressed its length is not told.
                    let told = asked.header("content-range").map(str::to_owned);
                    let from = format!("{}-", bytes.len());
                    upload.ranges.push(told.unwrap_or(from));
                }
                let takes = upload.stumbled || asked.body.len() < room;
                let taken = if takes {
                    &asked.body[..]
                } else {
                    &asked.body[..room]
                };
                bytes.extend(taken);
                let range = range(&bytes);
                upload.places.insert(place.clone(), bytes);
                if takes {
                    return Answer::new(202)
                        .with("Location", &place)
                        .with("Range", range);
                }
                upload.stumbled = true;
                Answer::new(500)
            }
            ("GET", _) => {
                let range = range(upload.places.get(&place).map_or(&[], Vec::as_slice));
                Answer::new(204)
                    .with("Location", &place)
                    .with("Range", range)
            }
            ("PUT", path) if path.contains("/manifests/") => Answer::new(201),
            ("PUT", _) => {
                let before = upload.places.get(&place).cloned().unwrap_or_default();
                let bytes = [before, asked.body.clone()].concat();
                upload.whole.push(Digest::of(&bytes));
                upload.closed += 1;
                // The blob is there, and nobody is told.
                Answer::new(if upload.closed == 1 { 502 } else { 201 })
            }
            _ => Answer::new(400),
        }
    });
    let scene = Scene::new();
    let name = format!("{}/a/b:1", server.host());
    scene.image(&name, 31, &[300_000]);
    scene.run(&["push", "-q", &name]).ok();
    let upload = state.lock().unwrap();
    let first = upload.ranges.first().map_or("", String::as_str);
    assert!(first.starts_with("100000-"), "{:?}", upload.ranges);
    // Layer and configuration, each once.
    assert_eq!(upload.whole.len(), 2, "{:?}", upload.whole);
    let images = rbuild::image::find_all(&scene.store()).unwrap();
    let diff_ids = &images[0].0.config.rootfs.diff_ids;
    assert_eq!(diff_ids.len(), 1);
}
