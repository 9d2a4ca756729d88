//! Questions over a stream, as long answers need: each with its length before it.
//!
//! Source: RFC 1035, section 4.2.2.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::resolve::{Outcome, Resolver};
use super::{PORT, answer};

/// Most connections at once.
pub(super) const MOST_AT_ONCE: usize = 16;
/// How long a client or server may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most questions on one connection.
const MOST_QUESTIONS: usize = 100;

/// Serves one connection to its end.
pub(super) fn serve(mut client: TcpStream, resolver: &Resolver) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    for _ in 0..MOST_QUESTIONS {
        let query = receive(&mut client)?;
        let answer = match resolver.resolve(&query) {
            Outcome::Answer(answer) => Some(answer),
            Outcome::PassOn => resolver
                .upstream()
                .iter()
                .find_map(|server| ask(*server, &query).ok())
                .or_else(|| answer::failure(&query)),
            Outcome::Ignore => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        send(&mut client, &answer)?;
    }
    Ok(())
}

fn ask(server: IpAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), PATIENCE)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    send(&mut server, query)?;
    receive(&mut server)
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length =
        u16::try_from(message.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}
