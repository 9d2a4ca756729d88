//! The graph of a build: which trees are made, from which, and how.
//!
//! A vertex is one step that yields a tree. Instructions that only change the
//! configuration are no vertices: the plan has applied them already. What an
//! operation carries here enters its cache key, except the members of
//! [`RunOp`] and [`CopyOp`] that say otherwise.

use crate::dockerfile::Span;
use crate::oci::{DiffId, History, ImageConfig, ImageId};

use super::RunNetwork;
use super::mount::RunMount;
use super::plan::cut::Place;

/// Names a vertex: its place in [`Graph::vertices`], where inputs come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VertexId(pub(super) usize);

/// What is to be built.
#[derive(Debug)]
pub(super) struct Graph {
    /// Every vertex that the target needs; an input stands before its users.
    pub(super) vertices: Vec<Vertex>,
    /// The vertex with the target's tree; `None` for `FROM scratch` without any step.
    pub(super) target: Option<VertexId>,
    /// Further vertices whose trees are wanted.
    pub(super) also: Vec<VertexId>,
    /// The instruction that each vertex belongs to; an image that a stage begins with has none.
    pub(super) places: Vec<Option<Place>>,
    /// The target's configuration, without `rootfs` and `history`.
    pub(super) config: ImageConfig,
    /// The image that the target's tree begins with, if any.
    pub(super) base: Option<BaseImage>,
    /// The history that the base image brings.
    pub(super) base_history: Vec<History>,
    /// What each instruction of the target did, oldest first.
    pub(super) history: Vec<HistoryItem>,
    /// Warnings of the plan, each with its place.
    pub(super) warnings: Vec<(Span, String)>,
}

/// One entry of the history to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HistoryItem {
    /// The instruction as history shows it.
    pub(super) created_by: String,
    /// The vertex whose layer this is; `None` for an instruction that only changes the configuration.
    pub(super) vertex: Option<VertexId>,
}

/// An image that a build starts from or copies from.
#[derive(Debug, Clone)]
pub(super) struct BaseImage {
    /// The full reference, for messages.
    pub(super) reference: String,
    /// Its ID.
    pub(super) id: ImageId,
    /// Its configuration.
    pub(super) config: ImageConfig,
    /// Its layers, bottom first.
    pub(super) diff_ids: Vec<DiffId>,
}

/// One step that yields a tree.
#[derive(Debug)]
pub(super) struct Vertex {
    /// The tree that it works on; `None` for an empty one.
    pub(super) parent: Option<VertexId>,
    /// What it does.
    pub(super) op: Op,
    /// The instruction in the Dockerfile; `None` for an `ONBUILD` trigger of a base image.
    pub(super) span: Option<Span>,
    /// The line that progress shows: `[build 2/5] RUN make`.
    pub(super) name: String,
    /// The instruction as written, on one line; tells which step this is when its inputs differ.
    pub(super) text: String,
}

impl Vertex {
    /// The vertices whose results it needs.
    pub(super) fn inputs(&self) -> impl Iterator<Item = VertexId> + use<> {
        let from = match &self.op {
            Op::Copy(op) => op.from().into_iter().flatten().collect(),
            Op::Run(op) => op.mounts.iter().filter_map(RunMount::from).collect(),
            _ => Vec::new(),
        };
        self.parent.into_iter().chain(from)
    }
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Op {
    /// Takes an image's tree.
    Image(Box<BaseImage>),
    /// Runs a command.
    Run(RunOp),
    /// Copies files.
    Copy(CopyOp),
    /// Makes a working directory.
    Workdir(WorkdirOp),
}

/// `RUN`.
#[derive(Debug)]
pub(super) struct RunOp {
    /// The argument vector, shell included.
    pub(super) argv: Vec<String>,
    /// A script that is put at `/dev/pipes/<name>`, mode 0755, for a heredoc that starts with `#!`.
    pub(super) script: Option<InlineFile>,
    /// The environment: image, ENV and ARG, in order.
    pub(super) env: Vec<(String, String)>,
    /// Proxy settings: given to the command, not part of the key.
    pub(super) proxy_env: Vec<(String, String)>,
    /// The working directory, absolute.
    pub(super) cwd: String,
    /// The user as written; empty for root.
    pub(super) user: String,
    /// The network.
    pub(super) network: RunNetwork,
    /// What is mounted, as it is written.
    pub(super) mounts: Vec<RunMount>,
    /// Whether nothing of the usual confinement holds: `--security=insecure`.
    pub(super) insecure: bool,
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InlineFile {
    /// Its name.
    pub(super) name: String,
    /// Its content.
    pub(super) content: String,
}

/// Names a local tree of the build: its place in the list of contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ContextId(pub(super) usize);

impl ContextId {
    /// The context that the build was given first.
    pub(super) const MAIN: Self = Self(0);
}

/// Where a source of COPY or ADD is copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopySource {
    /// A build context.
    Context(ContextId),
    /// Another step's tree; `None` for an empty one.
    Vertex(Option<VertexId>),
}

/// `COPY` and `ADD`.
#[derive(Debug)]
pub(super) struct CopyOp {
    /// The source patterns, expanded, each with the tree that it is looked for in.
    pub(super) patterns: Vec<CopyPattern>,
    /// Files whose content stands in the Dockerfile.
    pub(super) inline: Vec<InlineFile>,
    /// The destination, absolute; a trailing `/` (or `/.`) says that it is a directory.
    pub(super) destination: String,
    /// `--chown`, expanded.
    pub(super) chown: Option<String>,
    /// `--chmod`.
    pub(super) chmod: Option<u32>,
    /// Whether local archives are extracted (ADD).
    pub(super) unpack: bool,
    /// `COPY` or `ADD`, for messages.
    pub(super) instruction: &'static str,
}

impl CopyOp {
    /// The different trees that it copies from, in the order of their first pattern.
    pub(super) fn trees(&self) -> Vec<CopySource> {
        let mut trees = Vec::new();
        for pattern in &self.patterns {
            if !trees.contains(&pattern.source) {
                trees.push(pattern.source);
            }
        }
        trees
    }

    /// The steps that it copies from, in the same order; `None` for an empty tree.
    pub(super) fn from(&self) -> Vec<Option<VertexId>> {
        let from = |tree| match tree {
            CopySource::Vertex(from) => Some(from),
            CopySource::Context(_) => None,
        };
        self.trees().into_iter().filter_map(from).collect()
    }

    /// Whether any of it comes from a build context.
    pub(super) fn reads_context(&self) -> bool {
        let is_context = |pattern: &CopyPattern| matches!(pattern.source, CopySource::Context(_));
        self.patterns.iter().any(is_context)
    }
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyPattern {
    /// The pattern, expanded.
    pub(super) text: String,
    /// Whether it is a path whatever characters it has, and no wildcard.
    pub(super) literal: bool,
    /// The tree that it is looked for in.
    pub(super) source: CopySource,
    /// Its place in the Dockerfile.
    pub(super) span: Option<Span>,
}

/// `WORKDIR`.
#[derive(Debug)]
pub(super) struct WorkdirOp {
    /// The directory, absolute and clean.
    pub(super) path: String,
    /// The user whose it becomes, as written; empty for root.
    pub(super) user: String,
}
