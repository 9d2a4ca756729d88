//! Networks and attachments: the default bridge, addresses, NAT, published ports.
//!
//! A store has one default bridge with a subnet of its own. [`attach`] makes a
//! network namespace on it: address from the store, a pair of devices, a default
//! route, all by netlink in about a dozen calls. Packets leave through nftables
//! rules that are encoded here, so neither `ip` nor `nft` nor `iptables` has to
//! be installed. Published ports are carried by a [`Publisher`] in the process
//! that keeps the container. Not here: networks that users define, names of
//! containers, IPv6 inside, unprivileged users.

mod attach;
mod bridge;
mod ipam;
mod nat;
mod netlink;
mod ports;
mod resolver;
#[cfg(test)]
mod tests;

pub use attach::{Attachment, Error, attach, teardown_default};
pub use ports::{PortForward, PortPublish, Publisher};
pub use resolver::{hosts_file, resolv_conf};

/// Name of the default network.
pub const DEFAULT: &str = "bridge";
