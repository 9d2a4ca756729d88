//! Copies whose source breaks off, or lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild::oci::{Digest, media_type};
use serde_json::{Value, json};

use crate::support::{
    Answer, Asked, Home, HttpServer, Need, Outcome, RegistryServer, finish, needs, run_other,
};

/// An image of one layer, as a registry would have it.
struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    fn new(size: usize) -> Self {
        let layer: Vec<u8> = (0..size).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": descriptor(media_type::CONFIG, config),
            "layers": [descriptor(media_type::LAYER_GZIP, &layer)],
        });
        Self {
            manifest: manifest.to_string().into_bytes(),
            config: config.to_vec(),
            layer,
        }
    }

    /// What a good registry answers.
    fn answer(&self, asked: &Asked) -> Answer {
        let digest = asked.path().rsplit('/').next().unwrap_or_default();
        let blob = [&self.config, &self.layer]
            .into_iter()
            .find(|blob| Digest::of(blob).to_string() == digest);
        match blob {
            _ if asked.path() == "/v2/" => Answer::new(200),
            _ if asked.path().contains("/manifests/") => Answer::new(200)
                .with("Content-Type", media_type::MANIFEST)
                .body(self.manifest.clone()),
            Some(blob) => Answer::new(200).body(blob.clone()),
            None => Answer::new(404),
        }
    }

    fn is_layer(&self, asked: &Asked) -> bool {
        asked.path().ends_with(&Digest::of(&self.layer).to_string())
    }
}

/// Copies from a server of the test to a real registry.
fn copy(home: &Home, from: &HttpServer, to: &RegistryServer) -> (Outcome, String) {
    let text = format!("[registry.\"{}\"]\nplain-http = true\n", from.host());
    let settings = home.file("registries.toml", text);
    let target = format!("{}/there/x:1", to.host());
    let source = format!("{}/here/x:1", from.host());
    let mut command = home.command(&["image", "copy", &source, &target]);
    command.env("RBUILD_REGISTRIES", settings);
    (finish(command, b""), target)
}

#[test]
fn a_copy_goes_on_where_its_source_broke_off() {
    if !needs(&[Need::Root, Need::DockerRegistry, Need::Skopeo]) {
        return;
    }
    let image = Arc::new(Image::new(1 << 20));
    let (half, breaks) = (image.layer.len() / 2, Arc::new(AtomicUsize::new(0)));
    let (own, counted) = (Arc::clone(&image), Arc::clone(&breaks));
    let source = HttpServer::plain(move |asked| {
        if !own.is_layer(asked) {
            return own.answer(asked);
        }
        let length = own.layer.len();
        let Some(range) = asked.header("range") else {
            counted.fetch_add(1, Ordering::SeqCst);
            let bytes = own.layer[..half].to_vec();
            return Answer::raw(move |to| {
                write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                to.write_all(&bytes)
            });
        };
        let from = range.trim_start_matches("bytes=").split('-').next();
        let from: usize = from.unwrap().parse().unwrap();
        Answer::new(206)
            .with(
                "Content-Range",
                format!("bytes {from}-{}/{length}", length - 1),
            )
            .body(own.layer[from..].to_vec())
    });
    let (home, target) = (Home::new(), RegistryServer::plain());
    let (outcome, name) = copy(&home, &source, &target);
    outcome.ok();
    assert_eq!(breaks.load(Ordering::SeqCst), 1);
    let name = format!("docker://{name}");
    let there = run_other("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]);
    assert_eq!(there, image.manifest);
    let blob = std::fs::read(target.blob_path(Digest::of(&image.layer))).unwrap();
    assert!(blob == image.layer);
}

#[test]
fn a_copy_of_other_bytes_than_promised_fails() {
    if !needs(&[Need::Root, Need::DockerRegistry]) {
        return;
    }
    for size in [1000, 1 << 20] {
        let image = Image::new(size);
        let digest = Digest::of(&image.layer);
        let source = HttpServer::plain(move |asked| {
            if !image.is_layer(asked) {
                return image.answer(asked);
            }
            let mut layer = image.layer.clone();
            layer[size - 1] ^= 1;
            Answer::new(200).body(layer)
        });
        let (home, target) = (Home::new(), RegistryServer::plain());
        let (outcome, name) = copy(&home, &source, &target);
        outcome.fails(1, "it is damaged or was tampered with");
        assert!(!target.blob_path(digest).exists());
        let tags = home.run(&["registry", "tags", name.trim_end_matches(":1")]);
        assert_ne!(tags.text(), "1", "{tags:?}");
    }
}

#[test]
fn a_referrer_of_a_registry_with_a_list_needs_no_tag() {
    if !needs(&[Need::Root]) {
        return;
    }
    // A registry that keeps the list: it says so when a referrer comes.
    let image = Arc::new(Image::new(1000));
    let own = Arc::clone(&image);
    let sent = Arc::new(std::sync::Mutex::new(Vec::<(String, Value)>::new()));
    let kept = Arc::clone(&sent);
    let registry = HttpServer::plain(move |asked| {
        let path = asked.path();
        match asked.method.as_str() {
            "HEAD" if path.contains("/blobs/") => Answer::new(200),
            "PUT" => {
                let manifest: Value = serde_json::from_slice(&asked.body).unwrap();
                let subject = manifest["subject"]["digest"].as_str().unwrap().to_owned();
                kept.lock().unwrap().push((path.to_owned(), manifest));
                Answer::new(201).with("OCI-Subject", subject)
            }
            _ if path.contains("/referrers/") => {
                let list: Vec<Value> = kept
                    .lock()
                    .unwrap()
                    .iter()
                    .map(|(_, manifest)| {
                        let bytes = manifest.to_string();
                        json!({"mediaType": media_type::MANIFEST, "digest": Digest::of(bytes.as_bytes()),
                               "size": bytes.len(), "artifactType": manifest["artifactType"]})
                    })
                    .collect();
                let index =
                    json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": list});
                Answer::new(200)
                    .with("Content-Type", media_type::INDEX)
                    .body(index.to_string())
            }
            _ => own.answer(asked),
        }
    });
    let home = Home::new();
    let text = format!("[registry.\"{}\"]\nplain-http = true\n", registry.host());
    let settings = home.file("registries.toml", text);
    let run = |arguments: &[&str]| {
        let mut command = home.command(&[&["registry"], arguments].concat());
        command.env("RBUILD_REGISTRIES", &settings);
        finish(command, b"")
    };
    let name = format!("{}/here/x:1", registry.host());
    run(&["attach", &name, "--artifact-type", "text/x-note"]).ok();
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "no list under a tag: {sent:?}");
    assert_eq!(
        sent[0].1["subject"]["digest"],
        Digest::of(&image.manifest).to_string()
    );
    let listed = run(&["referrers", &name, "--format", "{{.ArtifactType}}"]);
    assert_eq!(listed.ok(), "text/x-note");
}
