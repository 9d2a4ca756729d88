//! A server of S3's protocol (`s3rver` of npm), started for one test on loopback
//! with files of its own. It asks who signed, not whether the signature is right:
//! unit tests hold that against AWS' own examples.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The bucket that is there.
pub(crate) const BUCKET: &str = "caches";
/// Its only user, and that user's secret.
pub(crate) const KEY: &str = "S3RVER";
/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_mins(1);

/// The server; it ends, and its files go, with this value.
#[derive(Debug)]
pub(crate) struct S3Server {
    child: Child,
    host: String,
    dir: TempDir,
}

impl S3Server {
    /// One with an empty bucket.
    #[allow(
        clippy::disallowed_methods,
        reason = "another program is what the tests talk to"
    )]
    pub(crate) fn start() -> Self {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("rbuild-test-s3-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let log = std::fs::File::create(dir.path().join("log"));
        let log = log.expect("the temporary directory is writable");
        let errors = log.try_clone().expect("descriptors are left");
        let child = Command::new("s3rver")
            .args(["-a", "127.0.0.1", "-p", "0", "--configure-bucket", BUCKET])
            .arg("-d")
            .arg(dir.path().join("data"))
            // It cuts colours off its log, whether they are there or not.
            .env("FORCE_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the test asked for it first");
        // From here on it ends with this value, also when it does not come up.
        let mut server = Self {
            child,
            host: String::new(),
            dir,
        };
        server.host = server.listening();
        server
    }

    /// Waits until it listens; the port is the kernel's choice and told in the log.
    fn listening(&mut self) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            let told = log.split_once("listening on ").map(|(_, rest)| rest);
            if let Some((host, _)) = told.and_then(|rest| rest.split_once('\n')) {
                return host.trim().to_owned();
            }
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "s3rver ended: {log}");
            assert!(began.elapsed() < PATIENCE, "s3rver is mute: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// What it wrote to its log, without colours.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let mut parts = log.split('\u{1b}');
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
        }
        plain
    }

    /// The files of the objects whose keys begin so, in order.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let bucket = self.dir.path().join("data").join(BUCKET);
        let mut found = Vec::new();
        let mut dirs = vec![bucket.join(prefix)];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.to_string_lossy().into_owned();
                if path.is_dir() {
                    dirs.push(path);
                } else if name.ends_with("._S3rver_object") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It keeps nothing in memory that a test would miss.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
