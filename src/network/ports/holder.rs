//! Who holds a port of this host: the process whose socket has it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The state of a TCP socket that listens (net/tcp_states.h).
const LISTENS: &str = "0A";

/// A process that holds a port, or the container that it is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: i32,
    /// Its program.
    pub program: String,
    /// The container whose keeper it is.
    pub container: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.container {
            Some(container) => write!(out, "the container `{container}` has it"),
            None => write!(out, "process {} (`{}`) has it", self.pid, self.program),
        }
    }
}

impl Holder {
    /// Finds the process that keeps others from having `port` at `address`.
    pub(super) fn find(protocol: &str, address: IpAddr, port: u16) -> Option<Self> {
        let mut inodes = Vec::new();
        for table in [protocol.to_owned(), format!("{protocol}6")] {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            inodes.extend(sockets(&text.unwrap_or_default(), address, port));
        }
        // Those that listen first: a connection of theirs has the port as well.
        inodes.sort_by_key(|(listens, _)| !listens);
        let wanted: Vec<String> = inodes
            .iter()
            .map(|(_, inode)| format!("socket:[{inode}]"))
            .collect();
        if wanted.is_empty() {
            return None;
        }
        let mut found: Option<(usize, i32)> = None;
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let best = found.map_or(wanted.len(), |(rank, _)| rank);
            if let Some(rank) = held(&entry.path(), &wanted[..best]) {
                found = Some((rank, pid));
            }
        }
        let (_, pid) = found?;
        Some(Self {
            pid,
            program: program(pid),
            container: None,
        })
    }
}

/// The first of `wanted` that a process has open.
fn held(process: &Path, wanted: &[String]) -> Option<usize> {
    let descriptors = std::fs::read_dir(process.join("fd")).ok()?.flatten();
    descriptors
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
        .filter_map(|link| wanted.iter().position(|one| Path::new(one) == link))
        .min()
}

/// The name that a process was started under, without its directory.
fn program(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    // Servers write their state there: `nginx: master process ...`.
    let word = first.split([' ', ':']).next().unwrap_or_default();
    let name = word.rsplit('/').next().unwrap_or_default();
    if !name.is_empty() {
        return name.to_owned();
    }
    let short = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    short.trim().to_owned()
}

/// The sockets of a table that stand in the way: whether they listen, and their inodes.
///
/// Source: Documentation/networking/proc_net_tcp.rst of Linux.
fn sockets(table: &str, address: IpAddr, port: u16) -> Vec<(bool, u64)> {
    let read = |line: &str| -> Option<(bool, u64)> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (host, own_port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok().filter(|inode| *inode != 0)?;
        let host = parse_address(host)?;
        let clashes = host == address || host.is_unspecified() || address.is_unspecified();
        let is_there = u16::from_str_radix(own_port, 16).ok()? == port;
        (is_there && clashes).then_some((state == LISTENS, inode))
    };
    table.lines().skip(1).filter_map(read).collect()
}

/// Words of four bytes, each in this machine's order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_behind_a_port_is_found() {
        let here: IpAddr = Ipv4Addr::LOCALHOST.into();
        let stream = TcpListener::bind((here, 0)).unwrap();
        let datagrams = UdpSocket::bind((here, 0)).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let everywhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let ports = [
            ("tcp", stream.local_addr().unwrap().port()),
            ("udp", datagrams.local_addr().unwrap().port()),
        ];
        for (protocol, port) in ports {
            for address in [here, everywhere] {
                let holder = Holder::find(protocol, address, port).unwrap();
                assert_eq!(holder.pid, own);
                assert!(!holder.program.is_empty());
            }
            let elsewhere = "127.0.0.9".parse().unwrap();
            assert_eq!(Holder::find(protocol, elsewhere, port), None);
        }
    }

    #[test]
    fn tables_of_both_families_are_read() {
        let four = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            1: 0100007F:1F90 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n\
            2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n\
            nonsense\n";
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        assert_eq!(sockets(four, any, 8080), [(true, 4711), (false, 4712)]);
        assert_eq!(sockets(four, "10.0.0.1".parse().unwrap(), 8080), []);
        let six = "head\n 0: 00000000000000000000000001000000:0050 0:0 07 0:0 0:0 0 0 0 99 1\n";
        let loopback = IpAddr::from(Ipv6Addr::LOCALHOST);
        if cfg!(target_endian = "little") {
            assert_eq!(sockets(six, loopback, 80), [(false, 99)]);
        }
    }
}
