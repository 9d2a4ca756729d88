//! The log of what happens: one line of JSON for each event, appended by every
//! command and every shim.
//!
//! There is nobody to ask what happened, so it is written down: an append of one
//! line to one file, which costs microseconds and waits for nobody. A file that
//! has grown is put aside, and the one put aside before it goes: the log never
//! takes more than twice [`LIMIT`]. Events are not synced; after a power cut the
//! last ones may be missing. Who follows the log watches its directory.

mod follow;
mod record;

use std::fs::File;
use std::io::Write;

use crate::fs::{At, Lock, PathError};
use crate::store::Paths;

pub use follow::{Events, Wait};
pub use record::{EventKind, EventRecord};

/// Bytes at which the log is put aside.
const LIMIT: u64 = 4 << 20;
/// Longest line; an event whose attributes make it longer loses them.
const LINE_LIMIT: usize = 64 << 10;

/// Appends an event.
pub fn append(paths: &Paths, event: &EventRecord) -> Result<(), PathError> {
    let dir = paths.events();
    let path = dir.join("log");
    let mut line = event.encode().at("encode an event for", &path)?;
    if line.len() > LINE_LIMIT {
        let bare = event.without_attributes();
        line = bare.encode().at("encode an event for", &path)?;
    }
    let open = || File::options().append(true).create(true).open(&path);
    let mut file = match open() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&dir).at("create", &dir)?;
            open()
        }
        other => other,
    }
    .at("open", &path)?;
    // One write: appends of several processes do not mix.
    file.write_all(&line).at("write", &path)?;
    if file.metadata().is_ok_and(|meta| meta.len() >= LIMIT) {
        rotate(paths)?;
    }
    Ok(())
}

/// Puts the log aside, unless somebody is just doing that.
fn rotate(paths: &Paths) -> Result<(), PathError> {
    let dir = paths.events();
    let path = dir.join("log");
    let Some(_rotating) = Lock::try_exclusive(&dir.join("lock"))? else {
        return Ok(());
    };
    let grown = std::fs::metadata(&path).is_ok_and(|meta| meta.len() >= LIMIT);
    if grown {
        std::fs::rename(&path, dir.join("log.1")).at("put aside", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
