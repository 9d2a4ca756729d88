//! Networks and the addresses that are taken on them.

use std::net::Ipv4Addr;

use super::{Error, Store};

/// A network as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// Unique name, `bridge` for the default one.
    pub name: String,
    /// Name of its bridge device.
    pub device: String,
    /// The bridge's address, the containers' gateway.
    pub gateway: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Who uses it: a container ID or a build.
    pub owner: String,
    /// The process that keeps it; when that is gone the address is free.
    pub pid: i32,
    /// That process' start time, so that a reused pid is not mistaken for it.
    pub pid_started: u64,
}

impl Store {
    /// The network with this name.
    pub fn network_get(&self, name: &str) -> Result<Option<NetworkRow>, Error> {
        let _ = name;
        todo!()
    }

    /// Registers a network; an existing one stays and is returned.
    pub fn network_put(&self, row: &NetworkRow) -> Result<NetworkRow, Error> {
        let _ = row;
        todo!()
    }

    /// Forgets a network and its leases.
    pub fn network_remove(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        todo!()
    }

    /// Takes an address for `owner` in one transaction: `choose` gets the leases
    /// of the network that are alive (dead ones are dropped) and names a free
    /// address; `None` when the network is full.
    pub fn lease_take(
        &self,
        network: &str,
        owner: &str,
        choose: &dyn Fn(&[LeaseRow]) -> Option<Ipv4Addr>,
    ) -> Result<Option<LeaseRow>, Error> {
        let _ = (network, owner, choose);
        todo!()
    }

    /// Gives every address of `owner` back.
    pub fn lease_release(&self, owner: &str) -> Result<(), Error> {
        let _ = owner;
        todo!()
    }

    /// The living leases of a network.
    pub fn lease_list(&self, network: &str) -> Result<Vec<LeaseRow>, Error> {
        let _ = network;
        todo!()
    }
}
