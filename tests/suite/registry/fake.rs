//! A registry that misbehaves: a whole small image, and answers that a test twists.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use rbuild::oci::Digest;
use serde_json::{Value, json};

use crate::support::{Answer, Asked, HttpServer};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image of one layer.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) manifest: Value,
    pub(super) config: Vec<u8>,
    pub(super) layer: Vec<u8>,
}

impl Content {
    /// An image with one file in it.
    pub(super) fn new() -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let bytes = vec![b'x'; 300_000];
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, "file", &bytes[..]).unwrap();
        let layer = tar.into_inner().unwrap();
        Self::with_layer(&layer, LAYER, Digest::of(&layer))
    }

    /// An image with this layer, which unpacks to what `diff_id` says, or should.
    pub(super) fn with_layer(layer: &[u8], media_type: &str, diff_id: Digest) -> Self {
        let config = json!({
            "architecture": rbuild::oci::Platform::host().architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": media_type, "digest": Digest::of(layer), "size": layer.len()}],
        });
        Self {
            manifest,
            config,
            layer: layer.to_vec(),
        }
    }

    /// The manifest's bytes.
    pub(super) fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// What a registry that behaves answers.
    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path();
        if path == "/v2/" {
            return Answer::new(200);
        }
        if path.contains("/manifests/") {
            let bytes = self.manifest_bytes();
            return Answer::new(200)
                .with("Content-Type", MANIFEST)
                .with("Docker-Content-Digest", Digest::of(&bytes).to_string())
                .body(bytes);
        }
        let is = |bytes: &[u8]| path.ends_with(&format!("/blobs/{}", Digest::of(bytes)));
        let blob = [&self.config, &self.layer];
        match blob.into_iter().find(|bytes| is(bytes)) {
            Some(bytes) => Answer::new(200).body(bytes.clone()),
            None => Answer::new(404),
        }
    }

    /// Whether a layer is asked for.
    pub(super) fn is_layer(&self, asked: &Asked) -> bool {
        asked.path().ends_with(&Digest::of(&self.layer).to_string())
    }
}

/// What was asked of a server.
pub(super) type Log = Arc<Mutex<Vec<Asked>>>;

/// A server with `content` whose answers `twist` may replace, and what it was asked.
pub(super) fn fake(
    content: &Content,
    twist: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> (HttpServer, Log) {
    let (log, content) = (Log::default(), content.clone());
    let own = Arc::clone(&log);
    let server = HttpServer::plain(move |asked| {
        own.lock().unwrap().push(asked.clone());
        twist(asked).unwrap_or_else(|| content.answer(asked))
    });
    (server, log)
}

/// How often paths with `part` in them were asked for.
pub(super) fn count(log: &Log, part: &str) -> usize {
    let log = log.lock().unwrap();
    log.iter()
        .filter(|asked| asked.target.contains(part))
        .count()
}

/// An answer without an end, after a head with these lines.
pub(super) fn endless(head: &str) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
    Answer::raw(move |stream| {
        stream.write_all(head.as_bytes())?;
        let piece = vec![b' '; 64 << 10];
        loop {
            stream.write_all(&piece)?;
        }
    })
}

/// Writes a byte at a time, with pauses.
pub(super) fn slowly(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}
