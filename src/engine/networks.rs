//! Verbs on networks.

use super::{Engine, Error};
use crate::container;
use crate::network;
use crate::store::LeaseRow;
use crate::store::events::{EventKind, EventRecord, append};

pub use crate::container::{EndpointRequest, parse_mac};
pub use crate::network::{Network, NewNetwork};

/// A running container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMember {
    /// Its name; a build's or a lost container's ID.
    pub name: String,
    /// Its lease.
    pub lease: LeaseRow,
    /// Its hardware address, as text; empty for a build's.
    pub mac: String,
}

impl Engine {
    /// Makes a network.
    pub fn network_create(&self, new: &NewNetwork) -> Result<Network, Error> {
        let network = network::create(&self.store, new)?;
        self.note_network("create", &network, None);
        Ok(network)
    }

    /// Every network, sorted by name.
    pub fn networks(&self) -> Result<Vec<Network>, Error> {
        Ok(network::list(&self.store)?)
    }

    /// The network with this name, ID or unique beginning of an ID.
    pub fn network(&self, text: &str) -> Result<Network, Error> {
        Ok(network::find(&self.store, text)?)
    }

    /// Looks whether the networks that somebody is on are whole on this host, and mends
    /// those that are not, as after a firewall was loaded anew. A sentence for each
    /// that was not; a failure to look is one, too, and stops nothing.
    pub fn mend_networks(&self) -> Vec<String> {
        let repairs = match network::repair(&self.store) {
            Ok(repairs) => repairs,
            Err(error) => return vec![format!("cannot look after networks: {}", chain(&error))],
        };
        let told = |repair: network::Repair| match repair.failure {
            None => format!(
                "something of network {} was gone from this host: it is mended",
                repair.network
            ),
            Some(error) => format!(
                "something of network {} is gone from this host: {}",
                repair.network,
                chain(&error)
            ),
        };
        repairs.into_iter().map(told).collect()
    }

    /// Who is on a network now.
    pub fn network_members(&self, network: &Network) -> Result<Vec<NetworkMember>, Error> {
        let leases = network::members(&self.store, network)?;
        let member = |lease: LeaseRow| NetworkMember {
            name: self.owner(&lease),
            mac: container::place(&self.store, &lease.owner, network)
                .map_or_else(String::new, |place| place.mac_text()),
            lease,
        };
        Ok(leases.into_iter().map(member).collect())
    }

    /// Whether a container, running or not, is to be on a network.
    pub fn network_is_used(&self, network: &Network) -> Result<bool, Error> {
        Ok(!container::using(&self.store, network)?.is_empty()
            || !network::members(&self.store, network)?.is_empty())
    }

    /// Removes a network that nobody is on.
    pub fn network_remove(&self, network: &Network) -> Result<(), Error> {
        network::remove(&self.store, network, &|lease| self.owner(lease))?;
        self.note_network("destroy", network, None);
        Ok(())
    }

    /// Puts a container on a network.
    pub fn network_connect(&self, container: &str, endpoint: EndpointRequest) -> Result<(), Error> {
        let network = self.network(&endpoint.network)?;
        container::connect(&self.store, container, endpoint)?;
        self.note_network("connect", &network, Some(container));
        Ok(())
    }

    /// Takes a container off a network.
    pub fn network_disconnect(&self, container: &str, network: &Network) -> Result<(), Error> {
        container::disconnect(&self.store, container, network)?;
        self.note_network("disconnect", network, Some(container));
        Ok(())
    }

    /// Notes what happened to a network. An event that cannot be written stops nothing.
    fn note_network(&self, action: &str, network: &Network, container: Option<&str>) {
        let mut event = EventRecord::now(EventKind::Network, action, &network.id)
            .with("name", &network.name)
            .with("type", network.driver);
        let found = container.and_then(|text| container::find(&self.store, text).ok());
        if let Some(row) = found {
            event = event.with("container", &row.id);
        }
        let _kept = append(self.store.paths(), &event);
    }

    /// The name of a lease's container.
    fn owner(&self, lease: &LeaseRow) -> String {
        container::find(&self.store, &lease.owner)
            .map_or_else(|_| lease.owner.clone(), |row| row.name)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}
