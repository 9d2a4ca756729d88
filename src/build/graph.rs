//! The graph of a build: which trees are made, from which, and how.
//!
//! A vertex is one step that yields a tree. Instructions that only change the
//! configuration are no vertices: the plan has applied them already. What an
//! operation carries here enters its cache key, except the members of
//! [`RunOp`] and [`CopyOp`] that say otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dockerfile::Span;
use crate::http::Url;
use crate::oci::{DiffId, Digest, History, ImageConfig, ImageId, Platform};
use crate::remote::{Checksum, git};

use super::RunNetwork;
use super::bases::Remote;
use super::chmod::Chmod;
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
    /// Steps that must succeed although the target needs nothing of them.
    pub(super) required: Vec<VertexId>,
    /// What else a step waits for, by its place: `FROM --after`.
    pub(super) after: BTreeMap<usize, Vec<VertexId>>,
    /// Steps that may not come from the cache: `--no-cache-filter`.
    pub(super) uncached: BTreeSet<usize>,
    /// Warnings of the plan, each with its place.
    pub(super) warnings: Vec<(Span, String)>,
}

impl Graph {
    /// What a step waits for: its inputs, and what was said to come before.
    pub(super) fn waits_for(&self, index: usize) -> impl Iterator<Item = VertexId> + '_ {
        let after = self.after.get(&index).into_iter().flatten().copied();
        self.vertices[index].inputs().chain(after)
    }
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
    /// Where its layers come from when they are needed; `None` when the store has the image.
    pub(super) remote: Option<Arc<Remote>>,
}

impl BaseImage {
    /// Stands for an image of which nothing but its name is known.
    pub(super) fn unknown(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            id: ImageId(Digest::of(b"")),
            config: ImageConfig::default(),
            diff_ids: Vec::new(),
            remote: None,
        }
    }

    /// Whether this stands for an image that is not there.
    pub(super) fn is_unknown(&self) -> bool {
        self.id == ImageId(Digest::of(b""))
    }
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
    /// The vertices whose results it needs. What else it waits for is in [`Graph::after`].
    pub(super) fn inputs(&self) -> impl Iterator<Item = VertexId> + use<> {
        let from = match &self.op {
            Op::Copy(op) => op.from().into_iter().flatten().chain(op.users).collect(),
            Op::Link(op) => vec![op.layer],
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
    /// Puts a layer that was made on no parent onto one.
    Link(LinkOp),
    /// Makes a working directory.
    Workdir(WorkdirOp),
    /// Downloads a file.
    Http(HttpOp),
    /// Fetches a tree from a git repository.
    Git(git::Source),
}

impl Op {
    /// Whether it comes from a server.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Git(_))
    }
}

/// A file from a web server, as a tree with this one file, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpOp {
    /// The address.
    pub(super) url: Url,
    /// The file's name in the tree.
    pub(super) name: String,
    /// What its bytes must hash to. The server need not be asked then.
    pub(super) checksum: Option<Checksum>,
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
    /// What its program is made for.
    pub(super) platform: Platform,
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
    /// The step whose users the names of `--chown` are, where that is not the parent.
    pub(super) users: Option<VertexId>,
    /// `--chmod`.
    pub(super) chmod: Option<Chmod>,
    /// `--exclude`, expanded: what is left out, relative to each source.
    pub(super) exclude: Vec<String>,
    /// `--parents`: whether the sources' directories are kept below the destination.
    pub(super) parents: bool,
    /// Whether archives of a context are extracted (ADD).
    pub(super) unpack: bool,
    /// Whether archives of another step are extracted (ADD of a URL with `--unpack`).
    pub(super) unpack_remote: bool,
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

/// The second half of `--link`.
#[derive(Debug)]
pub(super) struct LinkOp {
    /// The step whose layer it is. It stands on nothing.
    pub(super) layer: VertexId,
}

/// `WORKDIR`.
#[derive(Debug)]
pub(super) struct WorkdirOp {
    /// The directory, absolute and clean.
    pub(super) path: String,
    /// The user whose it becomes, as written; empty for root.
    pub(super) user: String,
}
