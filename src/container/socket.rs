//! The socket of a container, `<run>/containers/<id>/socket`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{bind, connect, listen as start_listening, socket_with, socketpair};

use super::dir::Dir;
use crate::fs::{At, PathError};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
const NAME: &str = "socket";

/// Makes the container's socket and listens on it, accepting without waiting. What an earlier shim left is replaced.
pub(super) fn listen(dir: &Dir) -> Result<OwnedFd, PathError> {
    std::fs::create_dir_all(dir.run()).at("create", dir.run())?;
    let path = dir.run().join(NAME);
    crate::fs::remove_tree(&path)?;
    let socket = || -> io::Result<OwnedFd> {
        let (_directory, address) = address(dir.run())?;
        let socket = new(SocketFlags::NONBLOCK)?;
        bind(&socket, &address)?;
        start_listening(&socket, BACKLOG)?;
        Ok(socket)
    };
    socket().at("listen on", path)
}

/// Connects to the container's shim; `None` when there is none.
pub(super) fn connect_to(dir: &Dir) -> Result<Option<OwnedFd>, PathError> {
    let socket = || -> io::Result<OwnedFd> {
        let (_directory, address) = address(dir.run())?;
        let socket = new(SocketFlags::empty())?;
        connect(&socket, &address)?;
        Ok(socket)
    };
    match socket() {
        Ok(socket) => Ok(Some(socket)),
        Err(err) => match err.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(err).at("connect to", dir.run().join(NAME)),
        },
    }
}

/// The two ends of a new shim's first conversation.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn new(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

/// The address of the socket in `directory`, through a descriptor: the path
/// itself may be longer than the 107 bytes that an address holds.
fn address(directory: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(directory, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{NAME}", fd.as_raw_fd());
    Ok((fd, SocketAddrUnix::new(path)?))
}
