//! Published ports: parsing `-p`, keeping host ports, and leading connections to a
//! container.
//!
//! Two hands do it. Rules in the kernel ([`translate`]) lead what comes from other
//! machines and other containers, so that a server sees who connects. A process
//! carries the rest: connections from this host's loopback, and all of them where
//! there can be no rules. Its sockets also keep the ports from others. One
//! thread serves all of a container's ports, with memory only for bytes that the
//! other side does not take yet. Rules and sockets go with the process.

mod holder;
mod listen;
mod proxy;
mod publish;
mod relay;
#[cfg(test)]
mod tests;
mod translate;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

pub use holder::Holder;
pub use publish::PortPublish;
pub use translate::Target;

use super::Error;
use super::attach::During;
use listen::{Bound, Listener};
use proxy::Proxy;
use translate::Translation;

/// The thread keeps its buffers on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortForward {
    /// Host address.
    pub host: IpAddr,
    /// Host port.
    pub host_port: u16,
    /// Container port.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Keeps host ports, and leads connections to a container. All of that ends when
/// this is dropped, and with it every connection that is carried.
#[derive(Debug)]
pub struct Publisher {
    forwards: Vec<PortForward>,
    listeners: Vec<Listener>,
    running: Option<Running>,
    translation: Option<Translation>,
    target: Option<Target>,
    /// The address that is carried to, shared with the thread.
    container: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Running {
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Binds every port, or none. [`Error::PortTaken`] names the one that is taken,
    /// and who has it.
    ///
    /// Connections wait from now on until [`Publisher::lead`].
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
            translation: None,
            target: None,
            container: Arc::default(),
        })
    }

    /// What was bound. A port that is published on all addresses is here twice,
    /// with `0.0.0.0` and `::`.
    pub fn forwards(&self) -> &[PortForward] {
        &self.forwards
    }

    /// Leads to `target` from now on. Does nothing when it does so already, or
    /// without ports. `owner` is the container's ID.
    ///
    /// # Errors
    /// When no thread can be had, and for ports that only the kernel could lead.
    pub fn lead(&mut self, owner: &str, target: &Target) -> Result<(), Error> {
        if self.forwards.is_empty() || self.target.as_ref() == Some(target) {
            return Ok(());
        }
        self.container
            .store(u32::from(target.address), Ordering::Relaxed);
        // First, as the two would have one name.
        self.translation = None;
        let owner: String = owner.chars().take(12).collect();
        let started = Translation::start(&owner, &self.forwards, target);
        let refusal = match started {
            Ok(translation) => {
                self.translation = translation;
                std::io::ErrorKind::Unsupported.into()
            }
            // No rules are no failure: everything is carried then.
            Err(err) => err,
        };
        if let Some(lost) = self.forwards.iter().find(|one| self.is_lost(one)) {
            return Err(Error::NotCarried {
                port: lost.host_port,
                protocol: lost.protocol.clone(),
                source: refusal,
            });
        }
        self.target = Some(target.clone());
        self.carry()
    }

    /// Whether nothing leads this port.
    fn is_lost(&self, forward: &PortForward) -> bool {
        let is_led = |translation: &Translation| translation.leads(forward);
        // On a bridge without IPv6 the port of the other family is none.
        let is_half = forward.host == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
        forward.protocol == "sctp" && !is_half && !self.translation.as_ref().is_some_and(is_led)
    }

    /// Starts the thread, unless it runs.
    fn carry(&mut self) -> Result<(), Error> {
        let is_carried = |listener: &Listener| !matches!(listener.socket, Bound::Held(_));
        if self.running.is_some() || !self.listeners.iter().any(is_carried) {
            return Ok(());
        }
        let step = || "carry published ports".to_owned();
        let listeners = std::mem::take(&mut self.listeners);
        let (proxy, stop) = Proxy::new(listeners, Arc::clone(&self.container)).during(step)?;
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
        self.translation = None;
        if let Some(Running { stop, thread }) = self.running.take()
            && rustix::io::write(&stop, &1_u64.to_ne_bytes()).is_ok()
        {
            // A panic was reported on its thread already.
            thread.join().ok();
        }
    }
}
