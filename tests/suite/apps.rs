//! Real applications, from package registries to a service that answers.
//!
//! They are the examples under `testdata/apps`. All of them share one data root,
//! as they would on somebody's machine: the base image, apt's packages and equal
//! steps are there once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Need, Outcome, Registry, debian_base, needs, reachable};

/// What every application needs.
const COMMON: [Need; 3] = [Need::Root, Need::Overlay, Need::Debian];

/// Whether an application can be built here, from Debian's packages and those of
/// further registries.
pub(crate) fn runs(registries: &[Registry]) -> bool {
    reachable(&[Registry::Debian]) && reachable(registries) && needs(&COMMON)
}

/// How long a service may take to answer; far more than any of them takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// A secret that must not be found in any image.
const TOKEN: &str = "rbuild-test-token-5e3c1f";

/// The data root that applications share while any of them is tested.
fn shared_home() -> Arc<Home> {
    static HOME: Mutex<Weak<Home>> = Mutex::new(Weak::new());
    let mut shared = HOME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = shared.upgrade() {
        return home;
    }
    let home = Arc::new(Home::new());
    let base = debian_base().unwrap();
    let base = base.to_str().unwrap();
    // An archive of an image, or else a tar of a root file system.
    if home.run(&["load", "-i", base]).code != 0 {
        home.run(&["import", base, "debian:bookworm"]).ok();
    }
    *shared = Arc::downgrade(&home);
    home
}

/// An application that was built.
pub(crate) struct App {
    pub(crate) home: Arc<Home>,
    name: &'static str,
}

impl App {
    /// Builds an example; its image is `app-NAME`.
    #[track_caller]
    pub(crate) fn build(name: &'static str) -> Self {
        let app = Self {
            home: shared_home(),
            name,
        };
        app.build_in(&Self::source(name)).ok();
        app
    }

    /// Where an example lies.
    fn source(name: &str) -> PathBuf {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        repository.join("testdata/apps").join(name)
    }

    /// Builds the example from a directory, with what a machine's owner would
    /// give to it: certificates and configurations of package managers.
    fn build_in(&self, context: &Path) -> Outcome {
        let config = |name: &str, text: String| {
            let file = self.home.file(&format!("{}/{name}", self.name), text);
            format!("--secret=id={name},src={}", file.display())
        };
        let mut arguments = vec![
            "build".to_owned(),
            "--progress=plain".to_owned(),
            format!("--tag=app-{}", self.name),
            config("npmrc", format!("cafile=/run/secrets/ca\n; {TOKEN}\n")),
            config("pip", format!("[global]\ntimeout = 60\n# {TOKEN}\n")),
        ];
        let certificates = "/etc/ssl/certs/ca-certificates.crt";
        if Path::new(certificates).exists() {
            arguments.push(format!("--secret=id=ca,src={certificates}"));
        }
        arguments.push(context.to_str().unwrap().to_owned());
        self.home.run(&arguments)
    }

    /// Starts it; what it listens on is reached at a port of this machine.
    #[track_caller]
    fn start(&self, port: u16) -> Service<'_> {
        let image = format!("app-{}", self.name);
        let publish = format!("127.0.0.1::{port}");
        let started = self.home.run(&["run", "-d", "-p", &publish, &image]);
        let container = started.ok().to_owned();
        let published = self.home.run(&["port", &container, &port.to_string()]);
        Service {
            app: self,
            address: published.ok().parse().unwrap(),
            container,
        }
    }

    /// Runs another program of its image as root.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let image = format!("app-{}", self.name);
        let run = [
            "run",
            "--rm",
            "--user=0",
            "--network=none",
            "--entrypoint=/bin/sh",
        ];
        let mut arguments: Vec<&str> = run.to_vec();
        arguments.extend([image.as_str(), "-c", script]);
        self.home.run(&arguments).ok().to_owned()
    }

    /// Nothing of a secret is in the image, its history or its configuration.
    #[track_caller]
    fn assert_no_secrets(&self, places: &str) {
        let image = format!("app-{}", self.name);
        let told = self.home.run(&["inspect", &image]);
        assert!(!told.ok().contains(TOKEN));
        let found = self.sh(&format!("grep -rl {TOKEN} {places} /tmp 2>/dev/null; true"));
        assert_eq!(found, "");
    }
}

/// An application that runs; dropping it removes its container.
struct Service<'a> {
    app: &'a App,
    container: String,
    address: SocketAddr,
}

impl Service<'_> {
    /// Sends bytes and returns the answer, up to the end or what `enough` says is
    /// all of it. Asks again until the service is there.
    #[track_caller]
    fn ask(&self, question: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_ask(question, &enough).unwrap_or_default();
            if !answer.is_empty() {
                return answer;
            }
            if Instant::now() > deadline {
                let logs = self.app.home.run(&["logs", &self.container]);
                panic!("{} does not answer: {logs:?}", self.app.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_ask(
        &self,
        question: &[u8],
        enough: &impl Fn(&[u8]) -> bool,
    ) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(question)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !enough(&answer) {
            match stream.read(&mut buffer)? {
                0 => break,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(answer)
    }

    /// The body of a page.
    #[track_caller]
    fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.0\r\nHost: app\r\nConnection: close\r\n\r\n");
        let answer = self.ask(request.as_bytes(), |_| false);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}");
        body.to_owned()
    }

    /// Runs a program beside it.
    fn exec(&self, arguments: &[&str]) -> Outcome {
        let mut all = vec!["exec", &self.container];
        all.extend(arguments);
        self.app.home.run(&all)
    }

    /// Stops it as its image says; the exit code.
    #[track_caller]
    fn stop(&self) -> String {
        self.app
            .home
            .run(&["stop", "-t", "60", &self.container])
            .ok();
        let format = "--format={{.State.ExitCode}}";
        let told = self.app.home.run(&["inspect", format, &self.container]);
        told.ok().to_owned()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        self.app.home.run(&["rm", "-f", "-v", &self.container]);
    }
}

#[test]
fn a_c_program_runs_from_scratch() {
    if !runs(&[]) {
        return;
    }
    let app = App::build("c");
    let service = app.start(8080);
    assert_eq!(service.get("/"), "Hello from scratch!\n");
    assert_eq!(service.stop(), "0");
    // One layer with one file.
    let format = "--format={{len .RootFS.Layers}} {{.Config.User}}";
    let told = app.home.run(&["inspect", format, "app-c"]);
    assert_eq!(told.ok(), "1 65534:65534");
}

#[test]
fn a_rust_service_is_built_with_cargo() {
    if !runs(&[Registry::Crates]) {
        return;
    }
    let app = App::build("rust");
    let service = app.start(8080);
    assert_eq!(service.get("/Ferris"), "Hello, Ferris!\n");
    assert_eq!(service.get("/"), "Hello, world!\n");
    // Another source is compiled anew, the crates are still there.
    let context = app.home.scratch().join("rust-changed");
    copy(&App::source("rust"), &context);
    let main = context.join("src/main.rs");
    let source = std::fs::read_to_string(&main).unwrap();
    std::fs::write(&main, source.replace("Hello", "Greetings")).unwrap();
    // Layers have whole seconds, and cargo goes by times.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let file = std::fs::File::options().write(true).open(&main).unwrap();
    file.set_modified(later).unwrap();
    let built = app.build_in(&context);
    built.ok();
    assert!(
        built.stderr.contains("Compiling greeter"),
        "{}",
        built.stderr
    );
    assert!(
        !built.stderr.contains("Compiling tiny_http"),
        "{}",
        built.stderr
    );
    drop(service);
    assert_eq!(app.start(8080).get("/Ferris"), "Greetings, Ferris!\n");
}

#[test]
fn a_node_service_is_built_with_npm() {
    if !runs(&[Registry::Npm]) {
        return;
    }
    let app = App::build("node");
    let service = app.start(3000);
    assert_eq!(service.get("/count/a"), r#"{"name":"a","count":1}"#);
    assert_eq!(service.get("/count/a"), r#"{"name":"a","count":2}"#);
    assert_eq!(service.exec(&["id", "-un"]).ok(), "www-data");
    assert_eq!(
        app.sh("test ! -e /var/cache/npm && test ! -e /usr/bin/npm && echo gone"),
        "gone"
    );
    app.assert_no_secrets("/root /app");
}

#[test]
fn a_python_service_is_built_with_pip() {
    if !runs(&[Registry::Pypi]) {
        return;
    }
    let app = App::build("python");
    let service = app.start(8000);
    let answer: Value = serde_json::from_str(&service.get("/?2,3,5.5")).unwrap();
    assert_eq!(answer["count"], 3);
    assert_eq!(answer["sum"], 10.5);
    assert_eq!(answer["mean"], 3.5);
    assert_eq!(app.sh("test ! -e /var/cache/pip && echo gone"), "gone");
    app.assert_no_secrets("/root /etc /venv/pyvenv.cfg");
}

#[test]
fn nginx_serves_a_site() {
    if !runs(&[]) {
        return;
    }
    let app = App::build("nginx");
    let service = app.start(80);
    assert!(service.get("/").contains("<h1>Served by nginx</h1>"));
    assert_eq!(service.get("/health"), "well\n");
    // Its logs are the container's, and it stops by the signal that the image names.
    assert_eq!(service.stop(), "0");
    let logs = app.home.run(&["logs", &service.container]);
    assert!(logs.ok().contains("GET /health"), "{logs:?}");
}

#[test]
fn redis_keeps_values() {
    if !runs(&[]) {
        return;
    }
    let app = App::build("redis");
    let service = app.start(6379);
    let ends = |answer: &[u8]| answer.ends_with(b"+PONG\r\n");
    let answer = service.ask(b"SET key value\r\nGET key\r\nPING\r\n", ends);
    assert_eq!(answer, b"+OK\r\n$5\r\nvalue\r\n+PONG\r\n");
    assert_eq!(service.exec(&["redis-cli", "GET", "key"]).ok(), "value");
    assert_eq!(service.exec(&["id", "-un"]).ok(), "redis");
    assert_eq!(service.stop(), "0");
}

#[test]
fn postgresql_answers_queries() {
    if !runs(&[]) {
        return;
    }
    let app = App::build("postgres");
    let service = app.start(5432);
    // An SSL request is answered with one letter once the server listens.
    let answer = service.ask(&[0, 0, 0, 8, 4, 210, 22, 47], |answer| !answer.is_empty());
    assert!(matches!(answer[..], [b'S' | b'N']), "{answer:?}");
    let query = "select sum(moons), count(*) from planets";
    let told = service.exec(&["psql", "-h", "127.0.0.1", "-tA", "-c", query]);
    assert_eq!(told.ok(), "19|3");
    assert_eq!(service.stop(), "0");
    // What it wrote is in a volume and is there again.
    app.home.run(&["start", &service.container]).ok();
    let deadline = Instant::now() + PATIENCE;
    while service.exec(&["pg_isready", "-q"]).code != 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = service.exec(&["psql", "-tA", "-c", query]);
    assert_eq!(told.ok(), "19|3");
}

/// Copies a directory of an example.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
