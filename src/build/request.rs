//! What a build is asked for, and what it gives back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::aftermath::{BringOut, OnError};
use super::{CacheSource, CacheTarget, Output, StepOptions};
use crate::layer::Codec;
use crate::oci::{Descriptor, ImageId, Platform, Reference};
use crate::registry;
use crate::sandbox::{Killer, ResourceLimits, Rlimit};

/// Where a build context comes from.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// A directory.
    Directory(PathBuf),
    /// A tar archive, compressed or not, or else the text of a Dockerfile with
    /// an empty context: what `-` reads from standard input.
    Bytes(Arc<[u8]>),
    /// A tar archive on disk, compressed or not.
    TarFile(PathBuf),
    /// A git repository, or a file on a web server: a tar archive, compressed or not,
    /// or else a Dockerfile.
    Remote(String),
}

/// A further context, which the Dockerfile finds under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// An image by reference; `scratch` is an empty tree.
    Image(String),
    /// An image in a directory of the OCI layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The image's name there.
        tag: Option<String>,
        /// The digest of its manifest.
        digest: Option<String>,
    },
    /// A git repository or a file on a web server.
    Remote(String),
    /// A stage of the Dockerfile.
    Stage(String),
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone)]
pub enum DockerfileSource {
    /// `Dockerfile` (or `dockerfile`) at the root of the context.
    Default,
    /// A file by path, inside the context or not.
    Path(PathBuf),
    /// This text, from standard input.
    Text(String),
    /// A file on a web server.
    Url(String),
}

/// When registries are asked for base images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// For those that the store does not have.
    #[default]
    Missing,
    /// For each tag, whatever the store has.
    Always,
    /// The same, but a registry that has no answer is no failure where the store has the image.
    Newer,
    /// Never.
    Never,
}

/// The network of RUN steps that do not choose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// The default bridge.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// A build, all defaults applied.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The context.
    pub context: ContextSource,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The names to give the image.
    pub tags: Vec<Reference>,
    /// `--build-arg`, later ones win; those without a value anywhere are left out.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build, by name or number; the last one when absent.
    pub target: Option<String>,
    /// `--label`, applied last.
    pub labels: Vec<(String, String)>,
    /// Whether no step may come from the cache.
    pub no_cache: bool,
    /// `--no-cache-filter`: stages, by name or number, whose steps may not come from the cache.
    pub no_cache_filter: Vec<String>,
    /// `--also-target`: further stages that must succeed, by name or number.
    pub also_targets: Vec<String>,
    /// `--build-context`, by name, as [`context_name`] writes it.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What may be downloaded, and how.
    pub remote: crate::remote::Settings,
    /// How registries are reached; the engine puts its own in when there is none.
    pub registries: Option<registry::Access>,
    /// When they are asked for base images.
    pub pull: PullPolicy,
    /// Where results are looked for that are not here.
    pub cache_from: Vec<CacheSource>,
    /// Where results go.
    pub cache_to: Vec<CacheTarget>,
    /// Most bytes that the build cache may have, also while the build runs.
    pub cache_max: Option<u64>,
    /// The network of RUN steps.
    pub network: RunNetwork,
    /// `--add-host`: names with their addresses.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// The platforms to build for, each once; the host's when there are none.
    pub platforms: Vec<Platform>,
    /// Whether each missed step says what changed.
    pub explain_cache: bool,
    /// Size of `/dev/shm` of RUN steps, in bytes.
    pub shm_bytes: u64,
    /// `--ulimit`.
    pub rlimits: Vec<Rlimit>,
    /// Limits of each RUN step.
    pub resources: ResourceLimits,
    /// What to do when a step fails.
    pub on_error: OnError,
    /// What to bring out of a failed step's tree.
    pub export_failed: Vec<BringOut>,
    /// Secrets, agents, rights and limits of time of RUN steps.
    pub steps: StepOptions,
    /// Where the result goes; into the store under `tags` when nothing is said.
    pub outputs: Vec<Output>,
    /// Whether the new layers become one.
    pub squash: bool,
    /// Whether times in layers stay as they are, whatever `SOURCE_DATE_EPOCH` says.
    pub keep_times: bool,
    /// Whether everything is built once more and compared.
    pub check_reproducible: bool,
    /// Whether results are forgotten instead of put into the cache.
    pub forget: bool,
}

impl BuildRequest {
    /// A build of `context` with every default.
    pub fn new(context: ContextSource) -> Self {
        Self {
            context,
            dockerfile: DockerfileSource::Default,
            tags: Vec::new(),
            build_args: BTreeMap::new(),
            target: None,
            labels: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            also_targets: Vec::new(),
            contexts: BTreeMap::new(),
            remote: crate::remote::Settings::default(),
            registries: None,
            pull: PullPolicy::Missing,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            cache_max: None,
            network: RunNetwork::Default,
            extra_hosts: Vec::new(),
            platforms: Vec::new(),
            explain_cache: false,
            shm_bytes: 64 << 20,
            rlimits: Vec::new(),
            resources: ResourceLimits::default(),
            on_error: OnError::Fail,
            export_failed: Vec::new(),
            steps: StepOptions::default(),
            outputs: Vec::new(),
            squash: false,
            keep_times: false,
            check_reproducible: false,
            forget: false,
        }
    }
}

impl BuildRequest {
    /// How new layers will be compressed, where it is known before they are all there.
    pub(super) fn codec_ahead(&self) -> Option<Codec> {
        // One layer is made of all, or none is kept.
        if self.squash || self.forget {
            return None;
        }
        self.outputs.iter().find_map(|output| match output {
            Output::Image(image) => image.form.codec,
            Output::Archive(archive) => archive.form.codec,
            Output::Files(_) | Output::Nothing => None,
        })
    }
}

/// The name of a context as it is looked up: that of an image in its shortest
/// form, so that `alpine` and `docker.io/library/alpine:latest` are one.
pub fn context_name(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else {
        return name.to_ascii_lowercase();
    };
    let full = reference.to_string();
    let short = full
        .strip_prefix("docker.io/library/")
        .or_else(|| full.strip_prefix("docker.io/"))
        .unwrap_or(&full);
    short.strip_suffix(":latest").unwrap_or(short).to_owned()
}

/// What a build made.
#[derive(Debug, Clone, Default)]
pub struct BuildResult {
    /// The image, of this machine's platform where there are several; `None`
    /// when no output is an image.
    pub image: Option<ImageId>,
    /// The names it got.
    pub names: Vec<Reference>,
    /// What the image is found by: its manifest, or the index over several.
    pub descriptor: Option<Descriptor>,
    /// How the two builds differ that `check_reproducible` asked for, one line a
    /// fact; empty when they are the same, `None` when nobody asked.
    pub differences: Option<Vec<String>>,
}

/// Stops a build from another thread: no step starts any more, running ones are killed.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    inner: Arc<CancelState>,
}

#[derive(Debug, Default)]
struct CancelState {
    canceled: AtomicBool,
    /// A step failed: the others need not go on.
    stopped: AtomicBool,
    running: Mutex<Vec<(u64, Killer)>>,
}

impl Cancel {
    /// A build that nobody has stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the build.
    pub fn cancel(&self) {
        self.inner.canceled.store(true, Ordering::SeqCst);
        self.stop_steps();
    }

    /// Lets steps run again after [`Cancel::stop_steps`], unless the user has
    /// stopped the build.
    pub(super) fn settle(&self) {
        let canceled = self.is_canceled();
        self.inner.stopped.store(canceled, Ordering::SeqCst);
        // The user may have come in between.
        if self.is_canceled() {
            self.stop_steps();
        }
    }

    /// Kills the running steps because one of them failed.
    pub(super) fn stop_steps(&self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        for (_, killer) in self.lock().iter() {
            killer.kill();
        }
    }

    /// Whether the build was stopped.
    pub fn is_canceled(&self) -> bool {
        self.inner.canceled.load(Ordering::SeqCst)
    }

    /// Whether running steps were killed, by the user or for a failed one.
    pub(super) fn is_stopped(&self) -> bool {
        self.inner.stopped.load(Ordering::SeqCst)
    }

    /// Registers a running sandbox for as long as the guard lives; it is killed
    /// at once if the build was stopped meanwhile.
    pub(super) fn guard(&self, killer: &Killer) -> Running<'_> {
        let mut running = self.lock();
        let ticket = running.last().map_or(0, |(ticket, _)| ticket + 1);
        running.push((ticket, killer.clone()));
        drop(running);
        if self.is_stopped() {
            killer.kill();
        }
        Running {
            cancel: self,
            ticket,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Killer)>> {
        self.inner
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A running sandbox, known to its [`Cancel`].
#[derive(Debug)]
pub(super) struct Running<'a> {
    cancel: &'a Cancel,
    ticket: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.cancel
            .lock()
            .retain(|(ticket, _)| *ticket != self.ticket);
    }
}
