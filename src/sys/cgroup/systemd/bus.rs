//! A conversation with systemd.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::wire::{self, FIXED_BYTES, Kind, Message, Method, Writer};

/// systemd's own socket, for root, and the bus that it is on.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM: &str = "/run/dbus/system_bus_socket";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: Method<'static> = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
};
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// How long systemd may take for everything.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest line before the first message.
const MOST_LINE: usize = 512;

/// A scope to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) name: &'a str,
    pub(super) slice: &'a str,
    pub(super) description: &'a str,
    /// Its first process.
    pub(super) pid: u32,
}

/// Why there is no scope.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is one of that name already.
    Exists,
    /// All else.
    Failed(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(err: io::Error) -> Self {
        Self::Failed(err)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exists => Self::from(io::ErrorKind::AlreadyExists),
            Refusal::Failed(err) => err,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: UnixStream,
    serial: u32,
    until: Instant,
}

impl Bus {
    /// Connects to systemd, or else to the bus that it is on.
    pub(super) fn connect() -> io::Result<Self> {
        if let Ok(socket) = UnixStream::connect(PRIVATE) {
            return Self::new(socket);
        }
        let mut bus = Self::new(UnixStream::connect(Path::new(SYSTEM))?)?;
        bus.call(BUS, "", Writer::default())?;
        let mut rule = Writer::default();
        rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
        let method = Method {
            member: "AddMatch",
            ..BUS
        };
        bus.call(method, "s", rule)?;
        bus.call(manager("Subscribe"), "", Writer::default())?;
        Ok(bus)
    }

    /// Says who this is: the user, as the kernel tells the other side too.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let mut bus = Self {
            socket,
            serial: 0,
            until: Instant::now() + PATIENCE,
        };
        let user = rustix::process::geteuid().as_raw().to_string();
        // In hexadecimal, where a digit is itself behind a 3.
        let user: String = user.chars().flat_map(|digit| ['3', digit]).collect();
        bus.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let answer = bus.line()?;
        if !answer.starts_with("OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        bus.write(b"BEGIN\r\n")?;
        Ok(bus)
    }

    /// Starts a scope and waits until it has its process.
    pub(super) fn start(&mut self, unit: &Unit<'_>) -> Result<(), Refusal> {
        let mut body = Writer::default();
        body.text(unit.name);
        body.text("fail");
        body.array(8, |list| {
            for (name, value) in [
                ("Description", unit.description),
                ("Slice", unit.slice),
                // Nothing of it stays behind, however it ended.
                ("CollectMode", "inactive-or-failed"),
            ] {
                list.property(name, "s", |writer| writer.text(value));
            }
            list.property("Delegate", "b", |writer| writer.number(1));
            // It does not go before what it may need at a shutdown, as in Docker.
            list.property("DefaultDependencies", "b", |writer| writer.number(0));
            list.property("PIDs", "au", |writer| {
                writer.array(4, |pids| pids.number(unit.pid));
            });
        });
        // No further units.
        body.array(8, |_| {});
        let serial = self.send(manager("StartTransientUnit"), "ssa(sv)a(sa(sv))", body)?;
        // The job may be over before its name has been told.
        let mut over: Vec<(String, String)> = Vec::new();
        let mut job = None;
        loop {
            let message = self.receive()?;
            match (message.kind, message.texts.as_slice()) {
                (Kind::Error, texts) if message.reply_to == Some(serial) => {
                    return Err(refusal(&message.name, texts));
                }
                (Kind::Return, [path, ..]) if message.reply_to == Some(serial) => {
                    job = Some(path.clone());
                }
                (Kind::Signal, [path, _, result, ..]) if message.name == "JobRemoved" => {
                    over.push((path.clone(), result.clone()));
                }
                _ => {}
            }
            let ended = over.iter().find(|(path, _)| Some(path) == job.as_ref());
            match ended.map(|(_, result)| result.as_str()) {
                None => {}
                Some("done") => return Ok(()),
                Some(result) => {
                    let message = format!("systemd's job ended with `{result}`");
                    return Err(Refusal::Failed(io::Error::other(message)));
                }
            }
        }
    }

    fn call(&mut self, method: Method<'_>, signature: &str, body: Writer) -> io::Result<()> {
        let serial = self.send(method, signature, body)?;
        loop {
            let message = self.receive()?;
            if message.reply_to != Some(serial) {
                continue;
            }
            if message.kind == Kind::Error {
                return Err(refusal(&message.name, &message.texts).into());
            }
            return Ok(());
        }
    }

    fn send(&mut self, method: Method<'_>, signature: &str, body: Writer) -> io::Result<u32> {
        self.serial += 1;
        let message = wire::call(self.serial, method, signature, body);
        self.write(&message)?;
        Ok(self.serial)
    }

    fn receive(&mut self) -> io::Result<Message> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut fixed = [0; FIXED_BYTES];
        self.read(&mut fixed)?;
        let rest = wire::rest(&fixed).ok_or_else(invalid)?;
        let mut message = fixed.to_vec();
        message.resize(FIXED_BYTES + rest, 0);
        self.read(&mut message[FIXED_BYTES..])?;
        wire::parse(&message).ok_or_else(invalid)
    }

    /// A line, without its end, read byte by byte: what follows it is a message.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < MOST_LINE {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read_exact(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write_all(bytes)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

fn manager(member: &str) -> Method<'_> {
    Method {
        destination: SYSTEMD,
        path: OBJECT,
        interface: MANAGER,
        member,
    }
}

fn refusal(name: &str, texts: &[String]) -> Refusal {
    if name == EXISTS {
        return Refusal::Exists;
    }
    let why = texts.first().map_or(name, String::as_str);
    Refusal::Failed(io::Error::other(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(answers: Vec<Vec<u8>>) -> Result<(), Refusal> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let systemd = std::thread::spawn(move || {
            let mut heard = Vec::new();
            let mut byte = [0];
            while !heard.ends_with(b"\r\n") {
                theirs.read_exact(&mut byte).unwrap();
                heard.push(byte[0]);
            }
            assert!(heard.starts_with(b"\0AUTH EXTERNAL "));
            theirs.write_all(b"OK 1234\r\n").unwrap();
            let mut begin = [0; 7];
            theirs.read_exact(&mut begin).unwrap();
            let mut fixed = [0; FIXED_BYTES];
            theirs.read_exact(&mut fixed).unwrap();
            let mut rest = vec![0; wire::rest(&fixed).unwrap()];
            theirs.read_exact(&mut rest).unwrap();
            for answer in answers {
                theirs.write_all(&answer).unwrap();
            }
            let text = String::from_utf8_lossy(&rest).into_owned();
            for part in ["StartTransientUnit", "rbuild-x.scope", "Delegate", "PIDs"] {
                assert!(text.contains(part), "{part}");
            }
        });
        let unit = Unit {
            name: "rbuild-x.scope",
            slice: "system.slice",
            description: "a test",
            pid: 7,
        };
        let started = Bus::new(ours).unwrap().start(&unit);
        systemd.join().unwrap();
        started
    }

    #[test]
    fn a_scope_is_there_when_its_job_is_done() {
        let returned = || wire::answer(2, 1, "", &["/job/5"]);
        let removed = |job: &str, result: &str| {
            wire::answer(4, 0, "JobRemoved", &[job, "rbuild-x.scope", result])
        };
        start(vec![
            returned(),
            removed("/job/4", "failed"),
            removed("/job/5", "done"),
        ])
        .unwrap();
        // The job may be over before its name is told.
        start(vec![removed("/job/5", "done"), returned()]).unwrap();
        let failed = start(vec![returned(), removed("/job/5", "failed")]).unwrap_err();
        assert!(io::Error::from(failed).to_string().contains("`failed`"));
    }

    #[test]
    fn a_refusal_is_told_in_systemds_words() {
        let exists = start(vec![wire::answer(3, 1, "a.Refusal", &["there already"])]);
        assert!(matches!(exists, Err(Refusal::Failed(err)) if err.to_string() == "there already"));
        assert!(matches!(refusal(EXISTS, &[]), Refusal::Exists));
        assert!(matches!(start(Vec::new()), Err(Refusal::Failed(_))));
    }
}
