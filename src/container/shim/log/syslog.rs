//! Sending lines to a syslog server.
//!
//! Source: RFC 3164 and RFC 5424; Docker's `syslog` driver for the options.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use jiff::{Timestamp, Zoned};

use super::super::super::logs::Stream;
use super::super::super::record::Record;
use super::{Lines, tag};

const PORT: u16 = 514;
/// How long a server may take to answer a connection, or to take a line.
const PATIENCE: Duration = Duration::from_secs(5);
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const DAEMON: usize = 3;
/// Informational and error.
const SEVERITIES: (usize, usize) = (6, 3);

/// Where lines go.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Local,
    Unix(String),
    UnixDatagram(String),
    Udp(String),
    Tcp(String),
}

#[derive(Debug)]
enum Connection {
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What local servers read.
    Unix,
    Rfc3164,
    Rfc5424 {
        micro: bool,
    },
}

/// The way to a server.
#[derive(Debug)]
pub(super) struct Syslog {
    address: Address,
    connection: Option<Connection>,
    facility: usize,
    form: Form,
    tag: String,
    lines: Lines,
}

/// Whether the options make sense.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<(), String> {
    address(options)?;
    facility(options)?;
    form(options).map(drop)
}

impl Syslog {
    /// Connects to the server that the options name.
    pub(super) fn open(record: &Record, name: &str) -> Result<Self, String> {
        let options = &record.request.log.options;
        let address = address(options)?;
        let connection = connect(&address).map_err(|err| format!("cannot reach syslog: {err}"))?;
        Ok(Self {
            address,
            connection: Some(connection),
            facility: facility(options)?,
            form: form(options)?,
            tag: tag(record, name),
            lines: Lines::default(),
        })
    }

    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for line in self.lines.take(stream, bytes) {
            self.send(stream, &line);
        }
    }

    pub(super) fn finish(&mut self, stream: Stream) {
        if let Some(line) = self.lines.rest(stream) {
            self.send(stream, &line);
        }
    }

    /// Sends a line; once more over a new connection where the old one is gone.
    fn send(&mut self, stream: Stream, line: &[u8]) {
        let message = self.message(stream, line);
        for _ in 0..2 {
            if self.connection.is_none() {
                self.connection = connect(&self.address).ok();
            }
            let sent = match &mut self.connection {
                Some(connection) => connection.send(&message),
                None => return,
            };
            if sent.is_ok() {
                return;
            }
            self.connection = None;
        }
    }

    fn message(&self, stream: Stream, line: &[u8]) -> Vec<u8> {
        let severity = match stream {
            Stream::Stdout => SEVERITIES.0,
            Stream::Stderr => SEVERITIES.1,
        };
        let priority = self.facility * 8 + severity;
        let pid = std::process::id();
        let tag = &self.tag;
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let head = match self.form {
            Form::Unix => {
                let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
                format!("<{priority}>{time} {tag}[{pid}]: ")
            }
            Form::Rfc3164 => {
                let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
                format!("<{priority}>{time} {host} {tag}[{pid}]: ")
            }
            Form::Rfc5424 { micro } => {
                let now = Timestamp::now();
                let time = if micro {
                    format!("{now:.6}")
                } else {
                    format!("{now:.0}")
                };
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        [head.as_bytes(), line, b"\n"].concat()
    }
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(message),
            Self::Tcp(stream) => stream.write_all(message),
            Self::UnixDatagram(socket) => socket.send(message).map(drop),
            Self::Udp(socket) => socket.send(message).map(drop),
        }
    }
}

fn connect(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Local => {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for path in ["/dev/log", "/var/run/syslog", "/var/run/log"] {
                for address in [
                    Address::UnixDatagram(path.to_owned()),
                    Address::Unix(path.to_owned()),
                ] {
                    match connect(&address) {
                        Ok(connection) => return Ok(connection),
                        Err(err) => last = err,
                    }
                }
            }
            Err(last)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Unix(stream))
        }
        Address::UnixDatagram(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::UnixDatagram(socket))
        }
        Address::Udp(to) => {
            let any = if to.starts_with('[') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Connection::Udp(socket))
        }
        Address::Tcp(to) => {
            let to = to
                .to_socket_addrs()?
                .next()
                .ok_or(io::ErrorKind::NotFound)?;
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Tcp(stream))
        }
    }
}

fn address(options: &BTreeMap<String, String>) -> Result<Address, String> {
    let Some(text) = options
        .get("syslog-address")
        .filter(|text| !text.is_empty())
    else {
        return Ok(Address::Local);
    };
    let wrong = || format!("unsupported syslog address: {text}");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let with_port = |rest: &str| {
        let has_port = rest
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if has_port {
            rest.to_owned()
        } else {
            format!("{rest}:{PORT}")
        }
    };
    match scheme {
        _ if rest.is_empty() => Err(wrong()),
        "unix" => Ok(Address::Unix(rest.to_owned())),
        "unixgram" => Ok(Address::UnixDatagram(rest.to_owned())),
        "udp" => Ok(Address::Udp(with_port(rest))),
        "tcp" => Ok(Address::Tcp(with_port(rest))),
        _ => Err(wrong()),
    }
}

fn facility(options: &BTreeMap<String, String>) -> Result<usize, String> {
    let Some(text) = options
        .get("syslog-facility")
        .filter(|text| !text.is_empty())
    else {
        return Ok(DAEMON);
    };
    let named = FACILITIES.iter().position(|name| name == text);
    let number = || {
        text.parse()
            .ok()
            .filter(|number| *number < FACILITIES.len())
    };
    named
        .or_else(number)
        .ok_or_else(|| "invalid syslog facility".to_owned())
}

fn form(options: &BTreeMap<String, String>) -> Result<Form, String> {
    match options.get("syslog-format").map_or("", String::as_str) {
        "" => Ok(Form::Unix),
        "rfc3164" => Ok(Form::Rfc3164),
        "rfc5424" => Ok(Form::Rfc5424 { micro: false }),
        "rfc5424micro" => Ok(Form::Rfc5424 { micro: true }),
        other => Err(format!("Invalid syslog format: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        pairs.collect()
    }

    #[test]
    fn addresses_get_the_usual_port() {
        let of = |text: &str| address(&options(&[("syslog-address", text)]));
        assert_eq!(of("udp://h"), Ok(Address::Udp("h:514".to_owned())));
        assert_eq!(of("tcp://h:1"), Ok(Address::Tcp("h:1".to_owned())));
        assert_eq!(
            of("unixgram:///x"),
            Ok(Address::UnixDatagram("/x".to_owned()))
        );
        assert_eq!(of(""), Ok(Address::Local));
        assert!(of("h").is_err() && of("udp://").is_err());
        assert_eq!(facility(&options(&[("syslog-facility", "local7")])), Ok(23));
        assert!(facility(&options(&[("syslog-facility", "99")])).is_err());
    }

    #[test]
    fn lines_reach_a_server() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog {
            address: Address::Udp(server.local_addr().unwrap().to_string()),
            connection: None,
            facility: DAEMON,
            form: Form::Rfc5424 { micro: true },
            tag: "t".to_owned(),
            lines: Lines::default(),
        };
        syslog.write(Stream::Stderr, b"one\ntw");
        let mut buffer = [0; 512];
        let length = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(
            text.starts_with("<27>1 20") && text.ends_with(" t - one\n"),
            "{text}"
        );
    }
}
