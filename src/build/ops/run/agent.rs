//! Agents of SSH keys, reached from inside a step.
//!
//! The step gets a socket of its own. What comes in there is passed on to the
//! caller's agent one message at a time, and only what asks for keys and
//! signatures: a step can use the keys, but not add, remove or lock any.
//!
//! Source: draft-ietf-sshm-ssh-agent, "Agent protocol".

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};

use crate::build::mount::FileSpec;
use crate::sys::process::descriptor_path;

/// Longest message. Source: OpenSSH, `AGENT_MAX_LEN`.
const MESSAGE_LIMIT: usize = 256 << 10;
/// How long either side may take to read a message.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Most connections at once.
const CONNECTIONS: usize = 64;
/// Messages that are passed on: `SSH_AGENTC_REQUEST_IDENTITIES`,
/// `SSH_AGENTC_SIGN_REQUEST` and `SSH_AGENTC_EXTENSION` (which binds a session).
const ALLOWED: [u8; 3] = [11, 13, 27];
/// `SSH_AGENT_FAILURE`, whole.
const REFUSED: [u8; 5] = [0, 0, 0, 1, 5];

/// A socket that leads to an agent, until it is dropped.
#[derive(Debug)]
pub(super) struct AgentSocket {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Closed to end the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl AgentSocket {
    /// Makes the socket `name` in the directory `dir`.
    ///
    /// # Errors
    /// When the agent at `agent` does not answer.
    pub(super) fn open(dir: &Path, name: &str, agent: &Path, file: FileSpec) -> io::Result<Self> {
        drop(connect(agent)?);
        // Names of sockets are short, those of directories need not be.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(dir, flags, Mode::empty())?;
        let listener = UnixListener::bind(short(&open, name))?;
        let path = dir.join(name);
        std::os::unix::fs::chown(&path, Some(file.uid), Some(file.gid))?;
        let mode = std::fs::Permissions::from_mode(file.mode & 0o7777);
        std::fs::set_permissions(&path, mode)?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let agent = agent.to_owned();
        let thread = std::thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn(move || listen(&listener, &Arc::new(stopped), &agent))?;
        Ok(Self {
            path,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nothing to do if it did.
            drop(thread.join());
        }
    }
}

fn short(dir: &OwnedFd, name: &str) -> String {
    format!("{}/{name}", descriptor_path(dir.as_raw_fd()))
}

/// Connects to a socket, however long its path is.
fn connect(agent: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (agent.parent(), agent.file_name()) else {
        return UnixStream::connect(agent);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let open = rustix::fs::open(dir, flags, Mode::empty())?;
    UnixStream::connect(Path::new(&descriptor_path(open.as_raw_fd())).join(name))
}

/// Whether `stream` has something, or has ended; false when it is time to stop.
fn ready(stream: &impl AsFd, stopped: &OwnedFd) -> bool {
    loop {
        let mut fds = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return fds[1].revents().is_empty(),
        }
    }
}

fn listen(listener: &UnixListener, stopped: &Arc<OwnedFd>, agent: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while ready(listener, stopped) {
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        if open.load(Ordering::SeqCst) >= CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (stopped, agent, open) = (stopped.clone(), agent.to_owned(), open.clone());
        threads.push(std::thread::spawn(move || {
            // Whoever is on either side sees the connection end.
            let _ended = serve(client, &agent, &stopped);
            open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for thread in threads {
        drop(thread.join());
    }
}

/// Passes messages on until one side ends.
fn serve(mut client: UnixStream, agent: &Path, stopped: &OwnedFd) -> io::Result<()> {
    let mut agent = connect(agent)?;
    // What it does not take does not keep the step's end waiting.
    agent.set_write_timeout(Some(WRITE_LIMIT))?;
    client.set_write_timeout(Some(WRITE_LIMIT))?;
    while let Some(message) = receive(&mut client, stopped)? {
        if !message.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            client.write_all(&REFUSED)?;
            continue;
        }
        agent.write_all(&message)?;
        let Some(answer) = receive(&mut agent, stopped)? else {
            break;
        };
        client.write_all(&answer)?;
    }
    Ok(())
}

/// One message, its length before it; `None` when there are no more.
fn receive(stream: &mut UnixStream, stopped: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; 4];
    if !fill(stream, &mut message, stopped)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > MESSAGE_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(4 + length, 0);
    Ok(fill(stream, &mut message[4..], stopped)?.then_some(message))
}

/// Fills the buffer; false when the stream ends before, or it is time to stop.
fn fill(stream: &mut UnixStream, buffer: &mut [u8], stopped: &OwnedFd) -> io::Result<bool> {
    let mut at = 0;
    while at < buffer.len() {
        if !ready(stream, stopped) {
            return Ok(false);
        }
        match stream.read(&mut buffer[at..]) {
            Ok(0) => return Ok(false),
            Ok(count) => at += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileSpec = FileSpec {
        mode: 0o600,
        uid: 0,
        gid: 0,
    };

    /// Asks through a socket and returns the answer without its length.
    fn ask(path: &Path, message: &[u8]) -> Option<Vec<u8>> {
        let (stopped, _stop) = rustix::pipe::pipe().unwrap();
        let mut stream = UnixStream::connect(path).unwrap();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, message].concat()).unwrap();
        let answer = receive(&mut stream, &stopped).ok()??;
        Some(answer[4..].to_vec())
    }

    #[test]
    fn only_questions_for_keys_and_signatures_are_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        // An agent that says which message it got.
        std::thread::spawn(move || {
            let (stopped, _stop) = rustix::pipe::pipe().unwrap();
            while let Ok((mut client, _)) = listener.accept() {
                while let Ok(Some(message)) = receive(&mut client, &stopped) {
                    client.write_all(&[0, 0, 0, 2, 99, message[4]]).unwrap();
                }
            }
        });
        let proxy = AgentSocket::open(dir.path(), "proxy", &socket, FILE).unwrap();
        for allowed in ALLOWED {
            assert_eq!(ask(&proxy.path, &[allowed, 1, 2]), Some(vec![99, allowed]));
        }
        // Add, remove one, remove all, lock.
        for refused in [17, 18, 19, 22] {
            assert_eq!(ask(&proxy.path, &[refused]), Some(vec![5]));
        }
        assert_eq!(ask(&proxy.path, &[]), None);
        let idle = UnixStream::connect(&proxy.path).unwrap();
        let path = proxy.path.clone();
        drop(proxy);
        drop(idle);
        assert!(UnixStream::connect(path).is_err());
    }

    #[test]
    fn an_agent_that_is_gone_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        drop(UnixListener::bind(&socket).unwrap());
        assert!(AgentSocket::open(dir.path(), "proxy", &socket, FILE).is_err());
    }
}
