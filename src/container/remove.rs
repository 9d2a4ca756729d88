//! Removing containers.

use std::time::{Duration, Instant};

use super::dir::Dir;
use super::record::{State, Status};
use super::signal::SIGKILL;
use super::{Error, events, find, stop};
use crate::fs::{At, Lock, PathError};
use crate::sandbox::Runtime;
use crate::store::events::{EventKind, EventRecord, append};
use crate::store::{Paths, Store};

/// How long a container that was just ended may still be put away by its shim.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What goes with a container, and which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveOptions {
    /// Also one that runs, by killing it.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// Removes the container `text` with everything that is its own; a running one
/// only by force.
///
/// # Errors
/// [`Error::StillRunning`] for a running one without force.
pub fn remove(store: &Store, text: &str, options: RemoveOptions) -> Result<(), Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    // One that is damaged does not run: a running one's documents are whole.
    let state = dir.state().unwrap_or_else(|_| State::dead());
    if state.is_running() {
        if !options.force {
            return Err(Error::StillRunning {
                name: text.to_owned(),
                why: match state.status {
                    Status::Paused => "container is paused and must be unpaused first",
                    Status::Restarting => {
                        "container is restarting: stop the container before removing or force remove"
                    }
                    _ => "container is running: stop the container before removing or force remove",
                },
            });
        }
        match stop::kill(store, &row.id, SIGKILL) {
            // It ended by itself, and went with its end when that was asked for.
            Ok(()) | Err(Error::CannotKill { .. } | Error::NotFound(_)) => {}
            Err(err) => return Err(err),
        }
    }
    let _removing = lock(&dir)?;
    end_outside(&dir);
    erase(store, &dir, options.volumes)
}

/// Ends what an outside runtime still has of a container whose shim and init were
/// both killed: nobody else does.
fn end_outside(dir: &Dir) {
    if let Some(runtime) = Runtime::left_in(&dir.outside()) {
        // It may know nothing of it any more.
        let _gone = runtime.delete();
    }
}

/// Takes the lock of a container's directory; `None` when there is no directory.
fn lock(dir: &Dir) -> Result<Option<Lock>, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match dir.try_lock() {
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) if Instant::now() < until => std::thread::sleep(PAUSE),
            Ok(None) => return Err(Error::Busy(dir.id().to_owned())),
            Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.into()),
        }
    }
}

/// Removes a container that nobody uses. Its name is free first; directories
/// that an interruption leaves are without a row and are collected. With
/// `volumes` its anonymous volumes go too, unless another container has them.
pub(super) fn erase(store: &Store, dir: &Dir, volumes: bool) -> Result<(), Error> {
    // A container that is damaged has neither.
    let record = dir.record().ok();
    let name = events::name_of(dir);
    store.container_remove(dir.id())?;
    crate::fs::remove_tree(dir.run())?;
    crate::fs::remove_tree(dir.data())?;
    if let Some(record) = &record {
        let event = EventRecord {
            attributes: events::attributes(&name, &record.request, &[]),
            ..EventRecord::now(EventKind::Container, "destroy", dir.id())
        };
        let _kept = append(store.paths(), &event);
        if volumes {
            super::volumes::remove_anonymous(store, &record.volumes)?;
        }
    }
    Ok(())
}

/// Notes that a container could not be started: it goes if it was to go at its
/// end, else its state says why. The caller holds its lock.
pub(super) fn after_failed_start(paths: &Paths, dir: &Dir, error: &Error) -> Result<(), Error> {
    if dir.record()?.request.auto_remove {
        return erase(&Store::open(paths.clone())?, dir, true);
    }
    crate::fs::remove_tree(dir.run())?;
    // The state has Docker's engine's code for a failure of its own, which `run` ends
    // with another for.
    let code = match error.run_code() {
        125 => 128,
        code => i32::from(code),
    };
    Ok(dir.write_state(&dir.state()?.not_started(code, error.chain()))?)
}

/// Removes the directories of containers that are in no register: of creations
/// and removals that were interrupted. Returns how many.
pub fn collect(store: &Store) -> Result<u64, Error> {
    let containers = store.paths().containers();
    let mut removed = 0;
    for id in names(&containers)? {
        let dir = Dir::new(store.paths(), &id);
        // Whoever makes a container holds its lock until it is registered.
        let Ok(Some(_lock)) = dir.try_lock() else {
            continue;
        };
        if store.container_find(&id)?.is_empty() {
            for path in [dir.run(), dir.data()] {
                match crate::fs::remove_tree(path) {
                    // Its remover, who is at it as well, was faster.
                    Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            removed += 1;
        }
    }
    Ok(removed)
}

fn names(path: &std::path::Path) -> Result<Vec<String>, PathError> {
    let entries = match std::fs::read_dir(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", path)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.at("list", path)?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
