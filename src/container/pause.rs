//! Stopping a container's processes for a while.

use super::attach::Attached;
use super::dir::Dir;
use super::protocol::Ask;
use super::{Error, find, socket};
use crate::store::Store;

/// Stops all processes of the running container `text` for a while.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::NotStarted`] with the reason of a kernel that
/// cannot, or for one that is paused already.
pub fn pause(store: &Store, text: &str) -> Result<(), Error> {
    demand(store, text, &Ask::Pause)
}

/// Lets the processes of the paused container `text` go on.
pub fn unpause(store: &Store, text: &str) -> Result<(), Error> {
    demand(store, text, &Ask::Unpause)
}

fn demand(store: &Store, text: &str, ask: &Ask) -> Result<(), Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let not_running = || Error::NotRunning(row.id.clone());
    let socket = socket::connect_to(&dir)?.ok_or_else(not_running)?;
    Attached::new(socket, row.id.clone()).demand(ask).map(drop)
}
