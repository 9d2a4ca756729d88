//! A container's directories, and reading and replacing the documents in them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{Process, Record, State};
use super::{EndpointRequest, Error};
use crate::fs::{At, Lock, PathError};
use crate::store::{self, Paths};

/// Longest document that is read back. They are our own; a bound costs nothing.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// What nearly every document fits into, so that it is read at once: `ps` reads two
/// for each container.
const USUAL_DOCUMENT: usize = 8 << 10;

/// Where a container keeps its files.
///
/// ```text
/// <data>/containers/<id>/  request.json networks.json state.json log lock fs/ work/ volumes/<n>/
///                          hosts hostname resolv.conf
/// <run>/containers/<id>/   socket outside/
/// ```
///
/// `lock` is held exclusively by whoever makes, starts, runs or removes the
/// container: its maker, its shim for as long as it lives, its remover.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    id: String,
    data: PathBuf,
    run: PathBuf,
}

impl Dir {
    /// The directories of container `id`; nothing is made.
    pub(super) fn new(paths: &Paths, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            data: paths.containers().join(id),
            run: paths.container_run().join(id),
        }
    }

    /// The container's ID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// `<data>/containers/<id>`.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// `<run>/containers/<id>`.
    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// A file or directory in the container's data directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// Where an outside runtime keeps what it knows of the container while it runs.
    pub(super) fn outside(&self) -> PathBuf {
        self.run.join("outside")
    }

    /// The log.
    pub(super) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// Takes the container's lock if nobody holds it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, PathError> {
        Lock::try_exclusive(&self.path("lock"))
    }

    /// Reads what the container is.
    pub(super) fn record(&self) -> Result<Record, Error> {
        let path = self.path("request.json");
        let bytes = read(&path)?;
        self.parse(&bytes, "request")
    }

    /// Writes what the container is.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), PathError> {
        write(&self.data, "request.json", record)
    }

    /// Reads the networks that the container is to be on: what was written last,
    /// else what it was made with.
    pub(super) fn endpoints(&self, record: &Record) -> Result<Vec<EndpointRequest>, Error> {
        let request = &record.request;
        if !request.network.is_joined() {
            return Ok(Vec::new());
        }
        match read(&self.path("networks.json")) {
            Ok(bytes) => self.parse(&bytes, "networks"),
            Err(err) if err.source.kind() != std::io::ErrorKind::NotFound => Err(err.into()),
            Err(_) if request.endpoints.is_empty() => Ok(vec![EndpointRequest {
                network: request.network.text(),
                ..EndpointRequest::default()
            }]),
            Err(_) => Ok(request.endpoints.clone()),
        }
    }

    /// Writes the networks that the container is to be on.
    pub(super) fn write_endpoints(&self, endpoints: &[EndpointRequest]) -> Result<(), PathError> {
        write(&self.data, "networks.json", &endpoints)
    }

    /// Reads what happened to the container. A container whose shim is gone
    /// without a word has ended with it.
    pub(super) fn state(&self) -> Result<State, Error> {
        let path = self.path("state.json");
        let bytes = match read(&path) {
            Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(State::created());
            }
            other => other?,
        };
        let state: State = self.parse(&bytes, "state")?;
        match state.shim {
            Some(shim) if !is_alive(shim) => Ok(state.lost()),
            None if state.is_running() => Ok(state.lost()),
            _ => Ok(state),
        }
    }

    /// Writes what happened to the container.
    pub(super) fn write_state(&self, state: &State) -> Result<(), PathError> {
        let written = write(&self.data, "state.json", state);
        match written {
            // An end that is not written down would be seen as a lost shim.
            Err(err) if err.source.kind() == std::io::ErrorKind::StorageFull => {
                overwrite(&self.data.join("state.json"), state).or(Err(err))
            }
            written => written,
        }
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8], what: &'static str) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|source| Error::Damaged {
            id: self.id.clone(),
            what,
            source,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::with_capacity(USUAL_DOCUMENT);
    let file = File::open(path).at("open", path)?;
    file.take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(bytes)
}

/// Replaces a document so that readers see the old one or the new one. It is not
/// synced: after a power cut every container has ended anyway, and one whose
/// documents were lost is `dead` and can be removed.
fn write<T: Serialize>(dir: &Path, name: &str, document: &T) -> Result<(), PathError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.new"));
    let bytes = serde_json::to_vec(document).at("encode", &path)?;
    File::create(&temporary)
        .and_then(|mut file| file.write_all(&bytes))
        .at("write", &temporary)?;
    std::fs::rename(&temporary, &path).at("replace", &path)
}

/// Writes a document over the old one where the disk has no room for a second one.
/// What is left of a longer one is blanked, so that no moment shows two.
fn overwrite<T: Serialize>(path: &Path, document: &T) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let half = path.with_extension("json.new");
    let _absent = std::fs::remove_file(half);
    let file = File::options().write(true).open(path)?;
    let mut bytes = serde_json::to_vec(document)?;
    let old = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    bytes.resize(bytes.len().max(old), b' ');
    file.write_all_at(&bytes, 0)
}

/// This process.
pub(super) fn current_process() -> Process {
    let this = store::Process::this();
    Process {
        pid: this.pid,
        started: this.started,
        boot: boot(),
    }
}

/// The machine's run that this is, as a number; 0 where it cannot be told.
fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let digits: String = text
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(16)
            .collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
}

fn is_alive(process: Process) -> bool {
    // A number and a start time may come again after a reboot.
    if process.boot != 0 && process.boot != boot() {
        return false;
    }
    store::Process {
        pid: process.pid,
        started: process.started,
    }
    .is_alive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_state_a_container_is_created() {
        let temporary = tempfile::tempdir().unwrap();
        let paths = Paths::new(temporary.path().join("d"), temporary.path().join("r"));
        let dir = Dir::new(&paths, "abc");
        std::fs::create_dir_all(dir.data()).unwrap();
        assert_eq!(dir.state().unwrap(), State::created());
        let running = State::created().running(1, current_process(), 5);
        dir.write_state(&running).unwrap();
        assert_eq!(dir.state().unwrap(), running);
        let shim = Process {
            pid: 1,
            started: u64::MAX,
            boot: 0,
        };
        dir.write_state(&State::created().running(1, shim, 5))
            .unwrap();
        assert_eq!(dir.state().unwrap().exit_code, 255);
    }
}
