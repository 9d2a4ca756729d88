//! Ending containers, and waiting for their end.

use std::time::Duration;

use super::attach::Attached;
use super::dir::Dir;
use super::protocol::Ask;
use super::record::Record;
use super::signal::SIGKILL;
use super::{Error, events, find, socket};
use crate::store::Store;

/// Seconds between asking and killing, as Docker's.
const DEFAULT_TIMEOUT: i64 = 10;
/// How long a killed container may take to be gone, as Docker's.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How a container is stopped.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopOptions {
    /// The signal that asks; the container's own when absent.
    pub signal: Option<i32>,
    /// Seconds until it is killed, negative for never; the container's own when absent.
    pub timeout: Option<i64>,
}

/// Asks the container to end, and kills it when it does not in time. One that
/// does not run is fine. Returns when it has ended.
pub fn stop(store: &Store, text: &str, options: StopOptions) -> Result<(), Error> {
    let Some((mut shim, dir)) = reach(store, text)? else {
        return Ok(());
    };
    // A container whose record is damaged can be stopped all the same.
    let request = dir.record().map(|record: Record| record.request);
    let request = request.unwrap_or_default();
    let signal = options
        .signal
        .unwrap_or_else(|| request.stop_signal_number());
    let seconds = options.timeout.or(request.stop_timeout);
    let limit = u64::try_from(seconds.unwrap_or(DEFAULT_TIMEOUT)).ok();
    shim.send(&Ask::Wait)?;
    note_signal(store, &dir, signal);
    shim.send(&Ask::Stop(signal))?;
    match shim.wait(limit.map(Duration::from_secs)) {
        Ok(Some(_)) | Err(Error::ShimLost(_)) => {}
        Ok(None) => {
            note_signal(store, &dir, SIGKILL);
            end(&mut shim)?;
        }
        Err(err) => return Err(err),
    }
    events::note(store.paths(), &dir, "stop", &[]);
    Ok(())
}

/// Sends a signal to the container's first process; after SIGKILL it is gone on return.
///
/// # Errors
/// [`Error::CannotKill`] when it does not run.
pub fn kill(store: &Store, text: &str, signal: i32) -> Result<(), Error> {
    let (mut shim, dir) = reach(store, text)?.ok_or_else(|| not_running(store, text))?;
    note_signal(store, &dir, signal);
    if signal == SIGKILL {
        shim.send(&Ask::Wait)?;
        return end(&mut shim);
    }
    match shim.demand(&Ask::Signal(signal)).map(drop) {
        Err(Error::NotStarted { .. } | Error::ShimLost(_)) => Err(not_running(store, text)),
        other => other,
    }
}

/// Notes that a signal was sent.
fn note_signal(store: &Store, dir: &Dir, signal: i32) {
    events::note(
        store.paths(),
        dir,
        "kill",
        &[("signal", &signal.to_string())],
    );
}

fn not_running(store: &Store, text: &str) -> Error {
    match find(store, text) {
        Ok(row) => Error::CannotKill {
            name: text.to_owned(),
            id: row.id,
        },
        Err(err) => err,
    }
}

/// Kills, and waits until the shim has put everything away.
fn end(shim: &mut Attached) -> Result<(), Error> {
    shim.send(&Ask::Stop(SIGKILL))?;
    match shim.wait(Some(KILL_PATIENCE)) {
        Ok(Some(_)) | Err(Error::ShimLost(_)) => Ok(()),
        Ok(None) => Err(Error::Shim {
            action: "hear of the end from",
            id: shim.id().to_owned(),
            source: std::io::ErrorKind::TimedOut.into(),
        }),
        Err(err) => Err(err),
    }
}

/// Waits for the container's end and returns its exit code; at once for one
/// that does not run.
pub fn wait(store: &Store, text: &str) -> Result<i32, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    if let Some(socket) = socket::connect_to(&dir)? {
        let mut shim = Attached::new(socket, row.id);
        shim.send(&Ask::Wait)?;
        match shim.wait(None) {
            Ok(Some(code)) => return Ok(code),
            Ok(None) | Err(Error::ShimLost(_)) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(dir.state()?.exit_code)
}

/// Connects to the shim of a container; `None` when it does not run.
fn reach(store: &Store, text: &str) -> Result<Option<(Attached, Dir)>, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let socket = socket::connect_to(&dir)?;
    Ok(socket.map(|socket| (Attached::new(socket, row.id), dir)))
}
