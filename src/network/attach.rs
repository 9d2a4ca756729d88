//! A network namespace joined to the default bridge.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::store::{self, Store};

/// What can go wrong with networks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nft` is needed for address translation and is not installed.
    #[error("the `nft` program is needed for the bridge network and was not found")]
    NoNft,
    /// `nft` refused the rules.
    #[error("`nft` refused our rules: {0}")]
    Nft(String),
    /// A step failed.
    #[error("cannot set up the network: {step}")]
    SetUp {
        /// Which step.
        step: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// Every address of the subnet is taken.
    #[error("no free address on network `{0}`")]
    Exhausted(String),
    /// No subnet is free for the default bridge.
    #[error("no free subnet for network `{0}`: every candidate overlaps a route of this host")]
    NoSubnet(String),
    /// A host port is taken.
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    PortTaken {
        /// Host address.
        address: std::net::IpAddr,
        /// Host port.
        port: u16,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A network namespace with an address on the default bridge. It lives as long
/// as this value or a process inside; the address is given back on drop.
#[derive(Debug)]
pub struct Attachment {
    namespace: OwnedFd,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    prefix: u8,
    mac: [u8; 6],
}

impl Attachment {
    /// The address inside.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Prefix length of the subnet.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Hardware address inside.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Makes a network namespace, joined to the default bridge under the store's
/// lease of an address. `owner` is a container ID or `build-<pid>`. The bridge, forwarding
/// and address translation are made when missing.
pub fn attach(store: &Store, owner: &str) -> Result<Attachment, Error> {
    let _ = (store, owner);
    todo!()
}

/// Removes the default bridge and its rules if no lease is alive; whether it did.
pub fn teardown_default(store: &Store) -> Result<bool, Error> {
    let _ = store;
    todo!()
}
