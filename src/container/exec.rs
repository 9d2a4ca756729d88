//! A further program in a running container.

use std::path::PathBuf;

use super::attach::Attached;
use super::dir::Dir;
use super::protocol::{self, ExecOrder, StartOrder, Streams, Tell};
use super::request::{Request, set_variable};
use super::{Error, bundle, capabilities, find, health, links, socket, start};
use crate::oci::Healthcheck;
use crate::sandbox::{ExecSpec, Terminal};
use crate::store::Store;

/// What is to be run.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The argument vector.
    pub argv: Vec<String>,
    /// Variables over the container's own.
    pub env: Vec<String>,
    /// User and group; the container's when absent.
    pub user: Option<String>,
    /// Working directory; the container's when absent.
    pub working_dir: Option<String>,
    /// Whether it may do nearly everything.
    pub privileged: bool,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
    /// The streams that the caller attaches to; none for a detached one.
    pub attach: Streams,
    /// Rows and columns of the caller's terminal; 0 when unknown.
    pub terminal: (u16, u16),
}

/// Runs a program in the running container `text`. It ends by itself, with the
/// container, or by a signal; not with the connection.
///
/// # Errors
/// [`Error::NotRunning`]; [`Error::NotStarted`] with the exit code 126 or 127 of
/// a program that is not there or cannot be executed.
pub fn exec(store: &Store, text: &str, request: ExecRequest) -> Result<Attached, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let not_running = || Error::NotRunning(row.id.clone());
    let socket = socket::connect_to(&dir)?.ok_or_else(not_running)?;
    let own = dir.record()?.request;
    let user = request.user.as_deref().unwrap_or(&own.user);
    let users = start::users(store, &row, &dir)?;
    let mut account = users.resolve(user)?;
    if request.user.is_none() {
        for group in &own.group_add {
            account.groups.push(users.group(group)?);
        }
    }
    let hostname = std::fs::read_to_string(dir.path("hostname")).unwrap_or_default();
    let mut env = bundle::environment(&own, hostname.trim(), &account.home);
    if request.tty && !own.tty {
        set_variable(&mut env, "TERM=xterm".to_owned());
    }
    if !own.links.is_empty() {
        // Those of a container that does not run any more are no reason to fail.
        let links = links::resolve(store, &row, &own).unwrap_or_default();
        env.extend(links.variables);
    }
    for variable in request.env {
        set_variable(&mut env, variable);
    }
    let order = ExecOrder {
        argv: request.argv,
        env,
        cwd: request
            .working_dir
            .map_or_else(|| bundle::working_directory(&own), PathBuf::from),
        account,
        privileged: request.privileged,
        tty: request.tty,
        attach: request.attach,
        terminal: request.terminal,
    };
    let failed = |action| {
        let id = row.id.clone();
        move |source| Error::Shim { action, id, source }
    };
    protocol::ask_exec(&socket, &dir, order).map_err(failed("reach"))?;
    match protocol::hear(&socket).map_err(failed("hear from"))? {
        Some(Tell::Started(_)) => Ok(Attached::new(socket, row.id)),
        Some(Tell::Refused(refusal)) => Err(Error::from(refusal)),
        _ => Err(Error::NotRunning(row.id)),
    }
}

/// The specification of a further program: the container's own restrictions
/// hold for it, unless it is privileged.
/// `has_group` says that the container got a cgroup although nothing limits it.
pub(super) fn spec(
    own: &Request,
    order: &ExecOrder,
    id: &str,
    has_group: bool,
) -> Result<ExecSpec, Error> {
    let (rows, columns) = order.terminal;
    let privileged = own.privileged || order.privileged;
    Ok(ExecSpec {
        argv: order.argv.clone(),
        env: order.env.clone(),
        cwd: order.cwd.clone(),
        uid: order.account.uid,
        gid: order.account.gid,
        groups: order.account.groups.clone(),
        capabilities: capabilities::kept(&own.cap_add, &own.cap_drop, privileged)?,
        no_new_privileges: own.has_security_option("no-new-privileges"),
        seccomp: bundle::seccomp(own, privileged),
        rlimits: own.ulimits.iter().map(|ulimit| ulimit.limit).collect(),
        terminal: order.tty.then_some(Terminal { rows, columns }),
        cgroup: bundle::cgroup(own, id).or_else(|| has_group.then(|| bundle::group_name(own, id))),
    })
}

/// The order for a health probe: it runs as the container's own program does.
pub(super) fn probe_order(
    own: &Request,
    check: &Healthcheck,
    start: &StartOrder,
    id: &str,
) -> ExecOrder {
    let hostname = own.hostname.clone();
    let hostname = hostname.unwrap_or_else(|| id.chars().take(12).collect());
    ExecOrder {
        argv: health::argv(check, &[]).unwrap_or_default(),
        env: bundle::environment(own, &hostname, &start.account.home),
        cwd: bundle::working_directory(own),
        account: start.account.clone(),
        privileged: false,
        tty: false,
        attach: Streams::default(),
        terminal: (0, 0),
    }
}
