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
    demand(store, text, &Ask::Pause, Error::NotRunning)
}

/// Lets the processes of the paused container `text` go on.
pub fn unpause(store: &Store, text: &str) -> Result<(), Error> {
    demand(store, text, &Ask::Unpause, Error::NotPaused)
}

/// Asks the container, or says `otherwise` of one that does not run.
fn demand(
    store: &Store,
    text: &str,
    ask: &Ask,
    otherwise: fn(String) -> Error,
) -> Result<(), Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let socket = socket::connect_to(&dir)?.ok_or_else(|| otherwise(row.id.clone()))?;
    Attached::new(socket, row.id.clone()).demand(ask).map(drop)
}
