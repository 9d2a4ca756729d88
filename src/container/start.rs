//! Starting a container: everything is looked up here, a shim does the rest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::attach::Attached;
use super::cdi::Edits;
use super::dir::Dir;
use super::machine::{Machine, Program};
use super::protocol::{self, Ask, StartOrder, Streams, Tell};
use super::record::Status;
use super::request::{NetworkMode, Request};
use super::{Error, find, links, remove, shim, socket};
use crate::fs::Root;
use crate::oci::passwd::{Account, Users};
use crate::snapshot::{self, View};
use crate::store::{ContainerRow, Store};
use crate::sys;

/// Longest account file that is read.
const FILE_LIMIT: u64 = 4 << 20;

/// How a container is started.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// The streams that the caller attaches to, before the program's first word.
    pub attach: Option<Streams>,
    /// Rows and columns of the caller's terminal; 0 when unknown.
    pub terminal: (u16, u16),
    /// A shim that was started in advance.
    pub spare: Option<Spare>,
}

/// A shim that waits for its order. One that gets none ends by itself.
#[derive(Debug)]
pub struct Spare {
    socket: OwnedFd,
}

impl Spare {
    /// Starts a shim in advance, so that it gets ready while the container is made.
    pub fn start() -> io::Result<Self> {
        let (socket, theirs) = socket::pair()?;
        // Not waited for: it outlives this process, and init collects it.
        let _shim = sys::process::spawn_self(shim::SHIM_ARGV0, theirs)?;
        Ok(Self { socket })
    }
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Limits that could not be set, one sentence each.
    pub warnings: Vec<String>,
    /// The connection, where one was asked for.
    pub attached: Option<Attached>,
}

/// Starts the container `text`; `None` when it runs already.
///
/// # Errors
/// [`Error::NotStarted`] with the shim's words.
pub fn start(
    store: &Store,
    text: &str,
    options: StartOptions,
    machine: &Machine,
) -> Result<Option<Started>, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    match dir.state()?.status {
        Status::Paused => return Err(Error::StartPaused),
        Status::Running | Status::Restarting => return Ok(None),
        Status::Created | Status::Exited | Status::Dead => {}
    }
    let order = order(store, &row, &dir, &options, machine).inspect_err(|error| {
        // Another command that is at it knows better; the first failure is the one to tell.
        if let Ok(Some(_lock)) = dir.try_lock() {
            let _kept = remove::after_failed_start(store.paths(), &dir, error);
        }
    })?;
    let failed = |action| {
        let id = row.id.clone();
        move |source| Error::Shim { action, id, source }
    };
    let spare = options.spare.map_or_else(Spare::start, Ok);
    let ours = spare.map_err(failed("start"))?.socket;
    protocol::ask(&ours, &Ask::Start(Box::new(order))).map_err(failed("reach"))?;
    match protocol::hear(&ours).map_err(failed("hear from"))? {
        Some(Tell::Started(warnings)) => Ok(Some(Started {
            warnings,
            attached: options.attach.map(|_| Attached::new(ours, row.id)),
        })),
        Some(Tell::Refused(refusal)) => Err(Error::from(refusal)),
        _ => Err(Error::ShimLost(row.id)),
    }
}

fn order(
    store: &Store,
    row: &ContainerRow,
    dir: &Dir,
    options: &StartOptions,
    machine: &Machine,
) -> Result<StartOrder, Error> {
    let request = dir.record()?.request;
    let account = account(store, row, dir, &request)?;
    let (program, edits) = offered(&request, &account, machine)?;
    let mut lower = snapshot::layer_dirs(store, row.snapshot)?;
    lower.push(store.paths().stubs());
    Ok(StartOrder {
        data: store.paths().data().to_owned(),
        run: store.paths().run().to_owned(),
        id: row.id.clone(),
        name: row.name.clone(),
        account,
        program,
        edits,
        lower,
        network_of: network_of(store, &request)?,
        pid_of: process_of(store, &request.pid_mode, "PID")?,
        ipc_of: process_of(store, &request.ipc_mode, "IPC")?,
        links: links::resolve(store, row, &request)?,
        attach: options.attach,
        terminal: options.terminal,
    })
}

/// The outside runtime, if one is asked for, and what the container's devices need.
fn offered(
    request: &Request,
    account: &Account,
    machine: &Machine,
) -> Result<(Option<Program>, Edits), Error> {
    if !request.runs_outside() && request.device_wishes.is_empty() {
        return Ok((None, Edits::default()));
    }
    let offers = machine.offers()?;
    let program = offers.program(&request.runtime)?;
    if request.device_wishes.is_empty() {
        return Ok((program, Edits::default()));
    }
    let registry = offers.devices();
    let mut names = Vec::new();
    for wish in &request.device_wishes {
        names.extend(wish.names(&registry)?);
    }
    let edits = registry.edits(&names, (account.uid, account.gid))?;
    if let (Some((hook, _)), None) = (edits.hooks.iter().next(), &program) {
        return Err(Error::Invalid(format!(
            "CDI device injection failed: {} asks for a program to be run ({hook}), which the \
             built-in runtime does not do: use --runtime crun or --runtime runc",
            names.join(", ")
        )));
    }
    Ok((program, edits))
}

/// Another container whose network is shared: its ID and first process.
fn network_of(store: &Store, request: &Request) -> Result<Option<(String, i32)>, Error> {
    let NetworkMode::Container(other) = &request.network else {
        return Ok(None);
    };
    let other = find(store, other)?;
    let state = Dir::new(store.paths(), &other.id).state()?;
    if !state.has_process() {
        return Err(Error::Invalid(format!(
            "cannot join network of a non running container: {}",
            other.id
        )));
    }
    Ok(Some((other.id, state.pid)))
}

/// The first process of the container in `container:X`.
fn process_of(store: &Store, mode: &str, what: &str) -> Result<Option<i32>, Error> {
    let Some(name) = Request::container_in(mode) else {
        return Ok(None);
    };
    let other = find(store, name)?;
    let dir = Dir::new(store.paths(), &other.id);
    let state = dir.state()?;
    if !state.has_process() {
        return Err(Error::Invalid(format!(
            "cannot join {what} of a non running container: {}",
            other.id
        )));
    }
    let shareable = dir.record()?.request.ipc_mode;
    if what == "IPC" && matches!(shareable.as_str(), "" | "none" | "private") {
        return Err(Error::Invalid(format!(
            "cannot join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            other.id
        )));
    }
    Ok(Some(state.pid))
}

/// Who the program runs as, by the container's own accounts.
fn account(
    store: &Store,
    row: &ContainerRow,
    dir: &Dir,
    request: &Request,
) -> Result<Account, Error> {
    let users = users(store, row, dir)?;
    let mut account = users.resolve(&request.user)?;
    for group in &request.group_add {
        let gid = users.group(group)?;
        if !account.groups.contains(&gid) {
            account.groups.push(gid);
        }
    }
    Ok(account)
}

/// The accounts of a container: of its own layer where it changed them, else of its image.
pub(super) fn users(store: &Store, row: &ContainerRow, dir: &Dir) -> Result<Users, Error> {
    let view = View::open(store, row.snapshot)?;
    let own = Root::open(&dir.path("fs"))?;
    let read = |path: &str| -> Result<Vec<u8>, Error> {
        let path = view.resolve(Path::new(path), true)?;
        if let Some(bytes) = read_own(&own, &path) {
            return Ok(bytes);
        }
        Ok(view.read(&path, FILE_LIMIT)?.unwrap_or_default())
    };
    Ok(Users::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// A regular file of the container's own layer; whiteouts and what the container
/// may have put in its place count as none.
fn read_own(own: &Root, path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = File::from(own.open_at(path, flags, Mode::empty()).ok()?);
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_LIMIT).read_to_end(&mut bytes);
    read.is_ok().then_some(bytes)
}

impl From<protocol::Refusal> for Error {
    fn from(refusal: protocol::Refusal) -> Self {
        Self::NotStarted {
            message: refusal.message,
            code: refusal.code,
        }
    }
}
