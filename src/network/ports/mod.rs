//! Published ports: parsing `-p`, and carrying connections to a container.
//!
//! Connections are carried by a process, not by address translation: they work
//! from 127.0.0.1 too, over IPv6, and without rules that outlive their container. One
//! thread serves all of a container's ports, with memory only for bytes that
//! the other side does not take yet.

mod listen;
mod proxy;
mod publish;
mod relay;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

pub use publish::PortPublish;

use super::Error;
use super::attach::During;
use listen::Listener;
use proxy::Proxy;

/// The thread keeps its buffers on the heap.
const STACK_BYTES: usize = 128 * 1024;

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

/// Listens on host ports and carries connections, on a thread of its own. That
/// ends when this is dropped, and with it every connection.
#[derive(Debug)]
pub struct Publisher {
    forwards: Vec<PortForward>,
    listeners: Vec<Listener>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Binds every port, or none. [`Error::PortTaken`] names the one that is taken.
    ///
    /// Connections wait from now on until [`Publisher::start`].
    pub fn bind(ports: &[PortPublish]) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        for port in ports {
            listeners.extend(listen::bind(port)?);
        }
        let forwards = listeners.iter().map(|listener| listener.forward.clone());
        Ok(Self {
            forwards: forwards.collect(),
            listeners,
            running: None,
        })
    }

    /// What was bound. A port that is published on all addresses is here twice,
    /// with `0.0.0.0` and `::`.
    pub fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// Starts carrying to `container`. Does nothing when already started, or
    /// without ports.
    pub fn start(&mut self, container: Ipv4Addr) -> Result<(), Error> {
        if self.listeners.is_empty() {
            return Ok(());
        }
        let step = || "carry published ports".to_owned();
        let listeners = std::mem::take(&mut self.listeners);
        let (proxy, stop) = Proxy::new(listeners, container).during(step)?;
        let thread = std::thread::Builder::new()
            .name("ports".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || proxy.run())
            .during(step)?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take()
            && rustix::io::write(&stop, &1_u64.to_ne_bytes()).is_ok()
        {
            // A panic was reported on its thread already.
            thread.join().ok();
        }
    }
}
