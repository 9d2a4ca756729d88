//! A web server on loopback, and git repositories behind it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// What is at a path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// The bytes.
    pub(crate) body: Vec<u8>,
    /// Further headers; an `ETag` is compared with what a client knows.
    pub(crate) headers: Vec<(String, String)>,
    /// Another status than `200 OK`.
    pub(crate) status: Option<&'static str>,
    /// Whether the connection is closed after half of the body.
    pub(crate) breaks: bool,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    requests: Vec<String>,
    files: Option<PathBuf>,
}

/// A web server; it ends with this value.
#[derive(Debug)]
pub(crate) struct Web {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// A server without pages.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let own = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let head = head(&mut stream);
                if head.is_empty() {
                    break;
                }
                let state = Arc::clone(&own);
                workers.push(std::thread::spawn(move || {
                    serve(&mut stream, &head, &state);
                }));
            }
            for worker in workers {
                worker.join().expect("serving does not fail");
            }
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a file there, with an `ETag` of its own.
    pub(crate) fn file(&self, path: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref().to_vec();
        let etag = format!("\"{}\"", rbuild::oci::Digest::of(&body).short());
        let headers = vec![("ETag".to_owned(), etag)];
        self.page(
            path,
            Page {
                body,
                headers,
                ..Page::default()
            },
        );
    }

    /// Puts a page there.
    pub(crate) fn page(&self, path: &str, page: Page) {
        self.lock().pages.insert(path.to_owned(), page);
    }

    /// Hands out the files beneath a directory as well.
    pub(crate) fn serve_files(&self, dir: &Path) {
        self.lock().files = Some(dir.to_owned());
    }

    /// The heads of the requests since the last time.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().requests)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("serving does not fail")
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // A connection without a request ends the loop.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("serving does not fail");
        }
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn serve(stream: &mut TcpStream, head: &str, state: &Mutex<State>) {
    let path = head.split(' ').nth(1).unwrap_or("/");
    let path = path.split('?').next().unwrap_or_default();
    let page = {
        let mut state = state.lock().expect("serving does not fail");
        state.requests.push(head.to_owned());
        let file = || {
            let body = std::fs::read(state.files.as_ref()?.join(path.trim_start_matches('/')));
            Some(Page {
                body: body.ok()?,
                ..Page::default()
            })
        };
        state.pages.get(path).cloned().or_else(file)
    };
    let mut page = page.unwrap_or(Page {
        status: Some("404 Not Found"),
        ..Page::default()
    });
    let known = page.headers.iter().any(|(name, value)| {
        name == "ETag"
            && head
                .to_lowercase()
                .contains(&format!("if-none-match: {value}"))
    });
    if known {
        page.status = Some("304 Not Modified");
        page.body.clear();
    }
    let mut answer = format!(
        "HTTP/1.1 {}\r\nConnection: close\r\n",
        page.status.unwrap_or("200 OK")
    );
    for (name, value) in &page.headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str(&format!("Content-Length: {}\r\n\r\n", page.body.len()));
    let sent = if page.breaks {
        page.body.len() / 2
    } else {
        page.body.len()
    };
    // A client that has enough closes early.
    drop(stream.write_all(answer.as_bytes()));
    drop(stream.write_all(&page.body[..sent]));
}

/// A git repository with one branch, `main`, that a web server can hand out as files.
#[derive(Debug)]
pub(crate) struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// An empty repository in a new directory.
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the temporary directory is writable");
        let repository = Self {
            dir: dir.to_owned(),
        };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// Writes a file into the tree.
    pub(crate) fn file(&self, name: &str, content: &str) {
        let path = self.dir.join(name);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent).expect("the temporary directory is writable");
        std::fs::write(path, content).expect("the temporary directory is writable");
    }

    /// Commits the tree; returns the commit.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a commit"]);
        self.git(&["update-server-info"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in it.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let settings = [
            "-C",
            self.dir
                .to_str()
                .expect("temporary directories have plain names"),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "commit.gpgSign=false",
        ];
        let output = super::run_other("git", &[&settings, arguments].concat());
        String::from_utf8_lossy(&output).trim().to_owned()
    }
}
