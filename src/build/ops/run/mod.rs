//! RUN: a command in a sandbox on the parent's tree; what it changed is the layer.

mod agent;
mod attempt;
mod caches;
mod error;
mod failed;
mod leak;
mod mounts;
mod points;

pub(in crate::build) use caches::portable as portable_caches;

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use attempt::Ended;
pub(in crate::build) use error::RunError;
pub(in crate::build) use failed::{Failed, Held};
use mounts::Mounts;

use super::{Tools, account};
use crate::build::emulation;
use crate::build::graph::{RunOp, Vertex};
use crate::build::mount::RunMountKind;
use crate::build::{Entitlement, RunNetwork, Secret};
use crate::fs::{At, PathError};
use crate::network;
use crate::oci::passwd::Account;
use crate::progress::{Event, StepId, Stream, Usage};
use crate::sandbox::{
    self, Mount, MountKind, NetworkNamespace, Overlay, Reach, RootFs, Seccomp, Spec, Stdio,
};
use crate::snapshot::{self, Active, View};
use crate::store::SnapshotId;

/// Host name inside, as BuildKit has it, and the build argument that sets another.
const HOSTNAME: &str = "buildkitsandbox";
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// `CAP_CHECKPOINT_RESTORE` of linux/capability.h, the last one so far.
const LAST_CAPABILITY: u8 = 40;
/// How much of a failed step's output is kept for its error.
const TAIL_LIMIT: usize = 16 << 10;

/// What a step runs on.
#[derive(Debug)]
pub(in crate::build) struct Inputs {
    /// The tree that it changes.
    pub(in crate::build) parent: Option<SnapshotId>,
    /// The tree of each of its mounts, where that takes one.
    pub(in crate::build) mounts: Vec<Option<SnapshotId>>,
}

/// A step that ran.
#[derive(Debug)]
pub(in crate::build) struct Ran {
    /// Its layer. A command that changes nothing makes an empty one, as Docker's does.
    pub(in crate::build) result: Result<SnapshotId, RunError>,
    /// What its command used, all tries together; `None` when it was never started.
    pub(in crate::build) usage: Option<Usage>,
}

/// Runs the command of `vertex`, again where the command line says so.
pub(in crate::build) fn run(
    tools: &Tools<'_>,
    vertex: &Vertex,
    op: &RunOp,
    inputs: &Inputs,
    step: StepId,
) -> Ran {
    let steps = &tools.request.steps;
    let command = Command {
        tools,
        op,
        inputs,
        step,
        timeout: steps.timeout(vertex),
    };
    attempt::with_retries(tools, steps.retry(vertex), step, |usage| {
        command.once(usage)
    })
}

/// A step's command, to be run.
struct Command<'a, 't> {
    tools: &'a Tools<'t>,
    op: &'a RunOp,
    inputs: &'a Inputs,
    step: StepId,
    timeout: Option<Duration>,
}

impl Command<'_, '_> {
    /// One try.
    fn once(&self, usage: &mut Option<Usage>) -> Result<SnapshotId, RunError> {
        let Self { tools, step, .. } = *self;
        let parent = self.inputs.parent;
        emulation::check(&self.op.platform)?;
        tools.failed.forget(tools.store, step);
        let active = Active::begin(tools.store, parent)?;
        if let Err(err) = self.fill(&active, usage) {
            tools.failed.hold(step, active, parent, &err);
            return Err(err);
        }
        let bytes = snapshot::tree_bytes(&active.fs())?;
        Ok(active.commit(bytes, None, None)?.id)
    }

    /// Runs the command; what it changes is in `active`.
    fn fill(&self, active: &Active<'_>, usage: &mut Option<Usage>) -> Result<(), RunError> {
        let Self { tools, op, .. } = *self;
        let ready = prepare(tools, op, self.inputs, active, self.step)?;
        let command = tools.redactor.text(&op.argv.join(" ")).into_owned();
        let began = jiff::Timestamp::now().as_second();
        let ended = self.execute(&ready, &command)?;
        attempt::add(usage, ended.usage);
        if tools.cancel.is_canceled() {
            return Err(RunError::Canceled);
        }
        let fs = active.fs();
        ready.mounts.clean(&fs)?;
        ended.check(&command, self.timeout, &ready.spec.resources)?;
        refuse_leak(tools, &ready.mounts.secrets, &fs)?;
        drop(ready);
        if let Some(latest) = tools.epoch {
            // Files get their times from a clock that lags a little behind.
            snapshot::clamp_times(&fs, latest, began - 1)?.save(active)?;
        }
        Ok(())
    }
}

/// Whether a layer has one of the secrets that a step was given.
pub(in crate::build) fn refuse_own_leak(
    tools: &Tools<'_>,
    op: &RunOp,
    layer: &Path,
) -> Result<(), RunError> {
    let given = &tools.request.steps.secrets;
    let ids = op.mounts.iter().filter_map(|mount| match &mount.kind {
        RunMountKind::Secret { id, .. } => given.get_key_value(id),
        _ => None,
    });
    let secrets: Vec<(&str, &Secret)> = ids.map(|(id, secret)| (id.as_str(), secret)).collect();
    refuse_leak(tools, &secrets, layer)
}

/// A layer that holds one of a step's secrets is an error.
fn refuse_leak(
    tools: &Tools<'_>,
    secrets: &[(&str, &Secret)],
    layer: &Path,
) -> Result<(), RunError> {
    let allow = &tools.request.steps.allow;
    if secrets.is_empty() || allow.contains(&Entitlement::SecretsInLayers) {
        return Ok(());
    }
    match leak::find(layer, secrets)? {
        Some(leak::Leak { id, path }) => Err(RunError::Leak { id, path }),
        None => Ok(()),
    }
}

/// A sandbox that can be started.
pub(in crate::build) struct Ready<'t> {
    /// All that is decided.
    pub(in crate::build) spec: Spec,
    /// The network, where it is one of ours.
    pub(in crate::build) attachment: Option<&'t network::Attachment>,
    /// What is mounted, for as long as the sandbox runs.
    mounts: Mounts<'t>,
}

/// Decides on the sandbox of a command that works on `active` on top of its input.
pub(in crate::build) fn prepare<'t>(
    tools: &'t Tools<'_>,
    op: &RunOp,
    inputs: &Inputs,
    active: &Active<'_>,
    step: StepId,
) -> Result<Ready<'t>, RunError> {
    let parent = inputs.parent;
    let account = account(tools.store, parent, &op.user)?;
    let below = View::open(tools.store, parent)?;
    let mounts = Mounts::prepare(tools, op, &inputs.mounts, &below, step)?;
    let mut spec = specification(tools, op, &account, active, parent, &mounts)?;
    let attachment = match op.network {
        RunNetwork::Default => Some(attach(tools)?),
        RunNetwork::None | RunNetwork::Host => None,
    };
    mount_files(tools, op, &mut spec, step)?;
    spec.mounts.extend(mounts.list.iter().cloned());
    Ok(Ready {
        spec,
        attachment,
        mounts,
    })
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
    mounts: &Mounts<'_>,
) -> Result<Spec, RunError> {
    let paths = tools.store.paths();
    let mut lower = snapshot::layer_dirs(tools.store, parent)?;
    lower.extend(mounts.stubs.clone());
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
        env: environment(tools, op, account, mounts),
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
        capabilities: if op.insecure {
            (0..=LAST_CAPABILITY).collect()
        } else {
            sandbox::DEFAULT_CAPABILITIES.to_vec()
        },
        no_new_privileges: false,
        seccomp: if op.insecure {
            Seccomp::Unconfined
        } else {
            Seccomp::Default
        },
        mask_paths: !op.insecure,
        read_only: false,
        rlimits: tools.request.rlimits.clone(),
        shm_bytes: tools.request.shm_bytes,
        sysctls: Vec::new(),
        terminal: None,
        cgroup: cgroup(tools),
        resources: tools.request.resources.clone(),
        die_with_parent: true,
        particulars: sandbox::Particulars::default(),
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

/// A cgroup is made only where there is something to limit, or a place for it was
/// named: joining one costs ten times what the rest of a start does.
fn cgroup(tools: &Tools<'_>) -> Option<String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let parent = tools.request.steps.cgroup_parent.as_deref();
    let limited = tools.request.resources != sandbox::ResourceLimits::default();
    (limited || parent.is_some()).then(|| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let parent = parent.unwrap_or("rbuild");
        format!("{parent}/build-{}-{number}", std::process::id())
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

fn environment(
    tools: &Tools<'_>,
    op: &RunOp,
    account: &Account,
    mounts: &Mounts<'_>,
) -> Vec<String> {
    let mut env: Vec<(String, String)> = op.env.clone();
    env.retain(|(name, _)| !mounts.env.iter().any(|(own, _)| own == name));
    env.extend(mounts.env.iter().cloned());
    let mut add = |name: &str, value: &str| {
        if !env.iter().any(|(own, _)| own == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    };
    for (name, value) in op.proxy_env.iter().chain(&mounts.default_env) {
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
                reach: Reach::All,
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
        &network::hosts_file(&[], &extra),
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

impl Command<'_, '_> {
    /// Starts the command, passes its output on, and waits for its end.
    fn execute(&self, ready: &Ready<'_>, command: &str) -> Result<Ended, RunError> {
        let (tools, step) = (self.tools, self.step);
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
        let killer = running.killer();
        let guard = tools.cancel.guard(&killer);
        let (exit, timed_out) = std::thread::scope(|scope| {
            scope.spawn(|| forward(out_reader, tools, step, Stream::Stdout));
            scope.spawn(|| forward(err_reader, tools, step, Stream::Stderr));
            attempt::within(scope, self.timeout, killer.clone(), || running.wait())
        });
        drop(guard);
        Ok(Ended {
            exit: exit.at("wait for", command)?,
            timed_out,
            out_of_memory: running.out_of_memory(),
            usage: running.usage(),
        })
    }
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

/// Passes a stream on, without secrets, until every writer has closed it.
fn forward(mut pipe: PipeReader, tools: &Tools<'_>, step: StepId, stream: Stream) {
    let log = |bytes: Vec<u8>| {
        if !bytes.is_empty() {
            tools.sink.event(Event::Log {
                step,
                stream,
                bytes,
            });
        }
    };
    let mut redacted = tools.redactor.stream();
    let mut buffer = [0; TAIL_LIMIT];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        log(redacted.feed(&buffer[..count]));
    }
    log(redacted.finish());
}
