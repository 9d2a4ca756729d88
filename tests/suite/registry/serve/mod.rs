//! `registry serve`: our own registry, seen from outside. What the distribution
//! specification asks of a registry is driven with plain HTTP; then other
//! programs speak to it.

mod access;
mod life;
mod peers;
mod protocol;
mod upstream;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rbuild::oci::Digest;
use serde_json::{Value, json};

use crate::support::Home;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry of ours on a free port; it ends with this value.
pub(super) struct Own {
    child: Child,
    pub(super) host: String,
    log: PathBuf,
}

impl Own {
    /// Starts one over the data root of `home`.
    pub(super) fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::start_with(home, arguments, &[])
    }

    /// The same with variables of the environment.
    pub(super) fn start_with(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let base = ["registry", "serve", "--port", "0"];
        let log = home.scratch().join(format!("log-{}", random()));
        let errors = std::fs::File::create(&log).unwrap();
        let mut command = home.command(&[&base, arguments].concat());
        command.envs(variables.iter().copied());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let host = line
            .trim()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let own = Self { child, host, log };
        assert!(line.starts_with("Listening on http"), "{line}{}", own.log());
        own
    }

    /// Everything that it has written.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Kills it without a chance to clean up.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end; its exit code.
    pub(super) fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, &[], b"")
    }

    /// Sends a request on a connection of its own.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut socket = self.connect();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.host
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = headers.iter().any(|(name, _)| *name == "Content-Length");
        if !has_length && !matches!(method, "GET" | "HEAD") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        // It may have answered already and listen no more.
        let _refused = socket.write_all(body);
        let mut bytes = Vec::new();
        let _reset = socket.read_to_end(&mut bytes);
        Reply::parse(&bytes)
    }

    pub(super) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.host).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        socket
    }

    /// Sends a blob in one request.
    pub(super) fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, &[], bytes).has(201);
        digest
    }

    pub(super) fn push_manifest(&self, repository: &str, name: &str, manifest: &Value) -> Digest {
        let bytes = manifest.to_string().into_bytes();
        let kind = manifest["mediaType"].as_str().unwrap();
        let path = format!("/v2/{repository}/manifests/{name}");
        self.send("PUT", &path, &[("Content-Type", kind)], &bytes)
            .has(201);
        Digest::of(&bytes)
    }

    /// Sends a small image; its manifest's digest and those of its blobs.
    pub(super) fn push_image(
        &self,
        repository: &str,
        tag: &str,
        seed: &str,
    ) -> (Digest, [Digest; 2]) {
        let config = format!("{{\"seed\":\"{seed}\"}}");
        let layer = format!("layer of {seed}");
        let digests = [
            self.push_blob(repository, config.as_bytes()),
            self.push_blob(repository, layer.as_bytes()),
        ];
        let manifest = image(config.as_bytes(), layer.as_bytes());
        (self.push_manifest(repository, tag, &manifest), digests)
    }

    /// Begins an upload; where it goes on.
    pub(super) fn begin(&self, repository: &str) -> String {
        let reply = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"));
        reply.has(202);
        reply.header("location").to_owned()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Some tests have ended it themselves.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A manifest of an image with one layer.
pub(super) fn image(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": part("application/vnd.oci.image.config.v1+json", config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}

/// A descriptor of some bytes.
pub(super) fn part(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    #[track_caller]
    pub(super) fn has(&self, status: u16) -> &Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{:?} {text}", self.headers);
        self
    }

    /// Asserts a refusal with a code of the specification.
    #[track_caller]
    pub(super) fn refuses(&self, status: u16, code: &str) -> &Self {
        self.has(status);
        assert_eq!(self.json()["errors"][0]["code"], code, "{self:?}");
        self
    }
}

pub(super) fn random() -> String {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    Digest::from_raw(bytes).hex()
}

/// Bytes that do not compress and are the same for the same seed.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
