//! Containers joining and leaving networks, running or not.

use super::dir::Dir;
use super::protocol::{self, Ask, Tell};
use super::{EndpointRequest, Error, find, socket};
use crate::network::{self, Network, Place};
use crate::store::Store;

/// Puts the container `text` on a network; a stopped one is there from its next start on.
///
/// # Errors
/// In Docker's words when it is there already, has no networks of its own, or
/// cannot have what it wishes.
pub fn connect(store: &Store, text: &str, mut endpoint: EndpointRequest) -> Result<(), Error> {
    let network = endpoint.resolve(store)?;
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let record = dir.record()?;
    check(&record.request.network, &network)?;
    let mut endpoints = dir.endpoints(&record)?;
    if endpoints.iter().any(|one| one.network == network.name) {
        return Err(Error::Invalid(format!(
            "endpoint with name {} already exists in network {}",
            row.name, network.name
        )));
    }
    if dir.state()?.is_running() {
        return ask(&dir, &Ask::Join(Box::new(endpoint)));
    }
    endpoints.push(endpoint);
    Ok(dir.write_endpoints(&endpoints)?)
}

/// Takes the container `text` off a network.
///
/// # Errors
/// When it is not on it.
pub fn disconnect(store: &Store, text: &str, network: &Network) -> Result<(), Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let record = dir.record()?;
    check(&record.request.network, network)?;
    let mut endpoints = dir.endpoints(&record)?;
    let before = endpoints.len();
    endpoints.retain(|one| one.network != network.name);
    if endpoints.len() == before {
        return Err(Error::Invalid(format!(
            "container {} is not connected to network {}",
            row.id, network.name
        )));
    }
    if dir.state()?.is_running() {
        return ask(&dir, &Ask::Leave(network.name.clone()));
    }
    Ok(dir.write_endpoints(&endpoints)?)
}

/// The names of the containers that are to be on a network, running or not.
pub fn using(store: &Store, network: &Network) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for row in store.container_list()? {
        let dir = Dir::new(store.paths(), &row.id);
        // A container whose documents are damaged uses nothing.
        let endpoints = dir.record().and_then(|record| dir.endpoints(&record));
        if endpoints.is_ok_and(|list| list.iter().any(|one| one.network == network.name)) {
            names.push(row.name);
        }
    }
    Ok(names)
}

/// Where a running container is on a network.
pub fn place(store: &Store, id: &str, network: &Network) -> Option<Place> {
    let state = Dir::new(store.paths(), id).state().ok()?;
    let mut places = state.networks.into_iter();
    places.find(|place| place.network == network.name)
}

fn check(mode: &super::NetworkMode, network: &Network) -> Result<(), Error> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    if network.name == network::HOST {
        return invalid("container cannot be connected to host network or disconnected from it");
    }
    if network.name == network::NONE || *mode == super::NetworkMode::None {
        return invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        );
    }
    if !mode.is_joined() {
        return invalid(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        );
    }
    Ok(())
}

fn ask(dir: &Dir, ask: &Ask) -> Result<(), Error> {
    let failed = |action| {
        let id = dir.id().to_owned();
        move |source| Error::Shim { action, id, source }
    };
    let lost = || Error::ShimLost(dir.id().to_owned());
    let socket = socket::connect_to(dir)?.ok_or_else(lost)?;
    protocol::ask(&socket, ask).map_err(failed("reach"))?;
    match protocol::hear(&socket).map_err(failed("hear from"))? {
        Some(Tell::Refused(refusal)) => Err(Error::from(refusal)),
        Some(_) => Ok(()),
        None => Err(lost()),
    }
}
