//! Published ports: parsing `-p`, and carrying connections to a container.

use std::net::{IpAddr, Ipv4Addr};

use super::Error;

/// What `-p` asked for, one container port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPublish {
    /// Host address; all (v4 and v6) when absent.
    pub host: Option<IpAddr>,
    /// Host port; a free one when absent.
    pub host_port: Option<u16>,
    /// Container port.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl PortPublish {
    /// Parses `[[ip:][hostPort]:]containerPort[/proto]`, ranges included.
    /// The error is Docker's message.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let _ = text;
        todo!()
    }
}

/// A port that is carried.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortForward {
    /// Host address.
    pub host: IpAddr,
    /// Host port.
    pub host_port: u16,
    /// Container port.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// Listens on host ports and carries connections; runs on threads of the
/// process that holds it, and ends with it.
#[derive(Debug)]
pub struct Publisher {
    forwards: Vec<PortForward>,
}

impl Publisher {
    /// Binds every port, or none. [`Error::PortTaken`] names the one that is taken.
    pub fn bind(ports: &[PortPublish]) -> Result<Self, Error> {
        let _ = ports;
        todo!()
    }

    /// What was bound.
    pub fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// Starts carrying to `container`.
    pub fn start(&mut self, container: Ipv4Addr) {
        let _ = container;
        todo!()
    }
}
