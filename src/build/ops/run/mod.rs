//! RUN: a command in a sandbox on the parent's tree; what it changed is the layer.

mod failed;

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub(in crate::build) use failed::{Failed, Held};

use super::{AccountError, Tools, account};
use crate::build::RunNetwork;
use crate::build::graph::RunOp;
use crate::fs::{At, PathError};
use crate::oci::passwd::Account;
use crate::progress::{Event, StepId, Stream};
use crate::sandbox::{
    self, Exit, Mount, MountKind, NetworkNamespace, Overlay, RootFs, Seccomp, Spec, Stdio,
};
use crate::snapshot::{self, Active};
use crate::store::SnapshotId;
use crate::{network, store};

/// Host name inside, as BuildKit has it, and the build argument that sets another.
const HOSTNAME: &str = "buildkitsandbox";
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// How much of a failed step's output is kept for its error.
const TAIL_LIMIT: usize = 16 << 10;

/// Why a RUN step failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum RunError {
    /// The command ended with another code than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}{why}")]
    Exit {
        /// The command.
        command: String,
        /// Its code; 128 plus the number for a signal.
        code: i32,
        /// What is known of the reason.
        why: &'static str,
    },
    /// The command could not be started.
    #[error("process {command:?} did not complete successfully: {source}: exit code: {code}")]
    Start {
        /// The command.
        command: String,
        /// 126 or 127.
        code: i32,
        /// Why.
        source: sandbox::Error,
    },
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(sandbox::Error),
    /// The network could not be made.
    #[error("{0}")]
    Network(String),
    /// The build was stopped.
    #[error("canceled")]
    Canceled,
    /// The user is unknown.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl From<store::Error> for RunError {
    fn from(err: store::Error) -> Self {
        Self::Snapshot(err.into())
    }
}

/// Runs the command on `parent`. A command that changes nothing makes an empty
/// layer, as Docker's does.
pub(in crate::build) fn run(
    tools: &Tools<'_>,
    op: &RunOp,
    parent: Option<SnapshotId>,
    step: StepId,
) -> Result<SnapshotId, RunError> {
    let active = Active::begin(tools.store, parent)?;
    if let Err(err) = fill(tools, op, &active, parent, step) {
        tools.failed.hold(step, active, parent, &err);
        return Err(err);
    }
    let bytes = snapshot::tree_bytes(&active.fs())?;
    Ok(active.commit(bytes, None, None)?.id)
}

/// Runs the command; what it changes is in `active`.
fn fill(
    tools: &Tools<'_>,
    op: &RunOp,
    active: &Active<'_>,
    parent: Option<SnapshotId>,
    step: StepId,
) -> Result<(), RunError> {
    let ready = prepare(tools, op, active, parent, step)?;
    let command = op.argv.join(" ");
    let exit = execute(tools, &ready, step, &command)?;
    if tools.cancel.is_canceled() {
        return Err(RunError::Canceled);
    }
    match exit {
        (Exit::Code(0), _) => Ok(()),
        (exit, out_of_memory) => {
            let why = if out_of_memory {
                ": cannot allocate memory"
            } else {
                ""
            };
            Err(RunError::Exit {
                command,
                code: exit.code(),
                why,
            })
        }
    }
}

/// A sandbox that can be started.
pub(in crate::build) struct Ready<'t> {
    /// All that is decided.
    pub(in crate::build) spec: Spec,
    /// The network, where it is one of ours.
    pub(in crate::build) attachment: Option<&'t network::Attachment>,
}

/// Decides on the sandbox of a command that works on `active` on top of `parent`.
pub(in crate::build) fn prepare<'t>(
    tools: &'t Tools<'_>,
    op: &RunOp,
    active: &Active<'_>,
    parent: Option<SnapshotId>,
    step: StepId,
) -> Result<Ready<'t>, RunError> {
    let account = account(tools.store, parent, &op.user)?;
    let mut spec = specification(tools, op, &account, active, parent)?;
    let attachment = match op.network {
        RunNetwork::Default => Some(attach(tools)?),
        RunNetwork::None | RunNetwork::Host => None,
    };
    mount_files(tools, op, &mut spec, step)?;
    Ok(Ready { spec, attachment })
}

/// The attachment that the build's steps share.
fn attach<'t>(tools: &'t Tools<'_>) -> Result<&'t network::Attachment, RunError> {
    let owner = format!("build-{}", std::process::id());
    let made = tools
        .network
        .get_or_init(|| network::attach(tools.store, &owner).map_err(|err| chain(&err)));
    made.as_ref()
        .map_err(|message| RunError::Network(message.clone()))
}

/// An error and its causes on one line.
pub(in crate::build) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

fn specification(
    tools: &Tools<'_>,
    op: &RunOp,
    account: &Account,
    active: &Active<'_>,
    parent: Option<SnapshotId>,
) -> Result<Spec, RunError> {
    let paths = tools.store.paths();
    let mut lower = snapshot::layer_dirs(tools.store, parent)?;
    lower.push(paths.stubs());
    Ok(Spec {
        rootfs: RootFs {
            mountpoint: paths.mnt(),
            overlay: Overlay {
                lower,
                upper: active.fs(),
                work: active.work(),
                volatile: true,
            },
        },
        mounts: Vec::new(),
        argv: op.argv.clone(),
        env: environment(tools, op, account),
        cwd: PathBuf::from(&op.cwd),
        create_cwd: true,
        uid: account.uid,
        gid: account.gid,
        groups: groups(account),
        hostname: Some(own_hostname(tools).unwrap_or(HOSTNAME).to_owned()),
        network: match op.network {
            RunNetwork::Default => NetworkNamespace::Passed,
            RunNetwork::None => NetworkNamespace::Isolated,
            RunNetwork::Host => NetworkNamespace::Host,
        },
        capabilities: sandbox::DEFAULT_CAPABILITIES.to_vec(),
        no_new_privileges: false,
        seccomp: Seccomp::Default,
        mask_paths: true,
        read_only: false,
        rlimits: tools.request.rlimits.clone(),
        shm_bytes: tools.request.shm_bytes,
        sysctls: Vec::new(),
        terminal: None,
        cgroup: cgroup(tools),
        resources: tools.request.resources,
        die_with_parent: true,
    })
}

/// The process' own group is among its groups, as Docker has it.
fn groups(account: &Account) -> Vec<u32> {
    let others = account
        .groups
        .iter()
        .copied()
        .filter(|gid| *gid != account.gid);
    std::iter::once(account.gid).chain(others).collect()
}

/// A cgroup is made only where there is something to limit.
fn cgroup(tools: &Tools<'_>) -> Option<String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let limited = tools.request.resources != sandbox::ResourceLimits::default();
    limited.then(|| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("rbuild/build-{}-{number}", std::process::id())
    })
}

/// The host name that a build argument asks for.
fn own_hostname<'t>(tools: &'t Tools<'_>) -> Option<&'t str> {
    tools
        .request
        .build_args
        .get(HOSTNAME_ARG)
        .map(String::as_str)
}

fn environment(tools: &Tools<'_>, op: &RunOp, account: &Account) -> Vec<String> {
    let mut env: Vec<(String, String)> = op.env.clone();
    let mut add = |name: &str, value: &str| {
        if !env.iter().any(|(own, _)| own == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    };
    for (name, value) in &op.proxy_env {
        add(name, value);
    }
    if let Some(name) = own_hostname(tools) {
        add("HOSTNAME", name);
    }
    add(
        "HOME",
        if account.home.is_empty() {
            "/"
        } else {
            &account.home
        },
    );
    env.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// `/etc/hosts`, `/etc/resolv.conf`, and the script of a heredoc.
fn mount_files(
    tools: &Tools<'_>,
    op: &RunOp,
    spec: &mut Spec,
    step: StepId,
) -> Result<(), RunError> {
    let own_namespace = op.network == RunNetwork::Default;
    let kind = if own_namespace { "bridge" } else { "host" };
    let mut mount = |name: &str, target: String, text: &str, mode: u32| -> Result<(), PathError> {
        let source = tools.scratch.join(name);
        write_once(&source, text, mode)?;
        spec.mounts.push(Mount {
            kind: MountKind::Bind {
                source,
                propagation: None,
            },
            target: PathBuf::from(target),
            read_only: true,
        });
        Ok(())
    };
    let mut extra: Vec<(String, IpAddr)> = tools.request.extra_hosts.clone();
    let name = own_hostname(tools).unwrap_or(HOSTNAME);
    extra.push((name.to_owned(), IpAddr::from([127, 0, 0, 1])));
    mount(
        &format!("hosts-{kind}"),
        "/etc/hosts".to_owned(),
        &network::hosts_file(None, &extra),
        0o644,
    )?;
    if op.network != RunNetwork::None {
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let fallback = std::fs::read_to_string("/run/systemd/resolve/resolv.conf").ok();
        let text = network::resolv_conf(&host, fallback.as_deref(), own_namespace);
        mount(
            &format!("resolv-{kind}"),
            "/etc/resolv.conf".to_owned(),
            &text,
            0o644,
        )?;
    }
    if let Some(script) = &op.script {
        let target = format!("/dev/pipes/{}", script.name);
        mount(
            &format!("script-{}", step.0),
            target,
            &script.content,
            0o755,
        )?;
    }
    Ok(())
}

/// Writes a file that steps running at the same time share: complete or not there.
fn write_once(path: &Path, text: &str, mode: u32) -> Result<(), PathError> {
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if path.exists() {
        return Ok(());
    }
    std::fs::write(path, text).at("write", path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .at("change the mode of", path)
}

/// Starts the command, passes its output on, and waits for its end.
fn execute(
    tools: &Tools<'_>,
    ready: &Ready<'_>,
    step: StepId,
    command: &str,
) -> Result<(Exit, bool), RunError> {
    let null = File::open("/dev/null").at("open", "/dev/null")?;
    let (out_reader, out_writer) = pipe().at("open", "a pipe")?;
    let (err_reader, err_writer) = pipe().at("open", "a pipe")?;
    let stdio = Stdio::Descriptors {
        stdin: null.as_fd(),
        stdout: out_writer.as_fd(),
        stderr: err_writer.as_fd(),
    };
    let network = ready.attachment.map(AsFd::as_fd);
    let started = sandbox::spawn(&ready.spec, stdio, network);
    drop((out_writer, err_writer));
    let mut running = started.map_err(|err| start_error(err, command))?;
    for warning in running.warnings() {
        tools.note(step, format!("warning: {warning}"));
    }
    let guard = tools.cancel.guard(&running.killer());
    let exit = std::thread::scope(|scope| {
        scope.spawn(|| forward(out_reader, tools, step, Stream::Stdout));
        scope.spawn(|| forward(err_reader, tools, step, Stream::Stderr));
        running.wait()
    });
    drop(guard);
    let exit = exit.at("wait for", command)?;
    Ok((exit, running.out_of_memory()))
}

fn start_error(err: sandbox::Error, command: &str) -> RunError {
    let code = match err {
        sandbox::Error::CommandNotFound(_) => 127,
        sandbox::Error::CommandNotExecutable { .. } => 126,
        other => return RunError::Sandbox(other),
    };
    RunError::Start {
        command: command.to_owned(),
        code,
        source: err,
    }
}

/// Passes a stream on until every writer has closed it.
fn forward(mut pipe: PipeReader, tools: &Tools<'_>, step: StepId, stream: Stream) {
    let mut buffer = [0; TAIL_LIMIT];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let bytes = buffer[..count].to_vec();
        tools.sink.event(Event::Log {
            step,
            stream,
            bytes,
        });
    }
}
