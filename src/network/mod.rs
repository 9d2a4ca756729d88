//! Networks and attachments: bridges, addresses, NAT, names, published ports.
//!
//! A store has one default bridge with a subnet of its own, and any number of networks
//! that users make ([`create`]). An [`Attachment`] is a network namespace that joins some of
//! them: address from the store, a pair of devices, a default route, all by netlink in
//! about a dozen calls. Packets leave through nftables rules that are encoded here, so
//! neither `ip` nor `nft` nor `iptables` has to be installed. On a network of the user's,
//! members find each other by name through a [`NameServer`] in the process that keeps
//! the container; published ports are reserved by a [`Publisher`] in the same one, which
//! leads them by rules of the kernel and carries what those cannot lead.
//! Not here: unprivileged users.

mod attach;
mod bridge;
mod dns;
mod ipam;
mod manage;
mod nat;
mod netlink;
mod ports;
mod resolver;
mod spec;
#[cfg(test)]
mod tests;

pub use attach::{Attachment, Error, Place, Wish, attach, repair, teardown_default};
pub use bridge::Repair;
pub use dns::{NAME_SERVER, NameServer, Zone};
pub use manage::{Network, NewNetwork, create, find, list, members, remove};
pub use ports::{Holder, PortForward, PortPublish, Publisher, Target};
pub use resolver::{hosts_file, resolv_conf, servers_of};
pub use spec::{Driver, Ipv6, Spec};

/// Name of the default network.
pub const DEFAULT: &str = "bridge";
/// Name of the host's own network.
pub const HOST: &str = "host";
/// Name of the network that has nothing but a loopback device.
pub const NONE: &str = "none";
