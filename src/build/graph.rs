//! The graph of a build: which trees are made, from which, and how.
//!
//! A vertex is one step that yields a tree. Instructions that only change the
//! configuration are no vertices: the plan has applied them already. What an
//! operation carries here enters its cache key, except the members of
//! [`RunOp`] and [`CopyOp`] that say otherwise.

use crate::dockerfile::Span;
use crate::oci::{DiffId, History, ImageConfig, ImageId};

use super::RunNetwork;

/// Names a vertex: its place in [`Graph::vertices`], where inputs come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub usize);

/// What is to be built.
#[derive(Debug)]
pub struct Graph {
    /// Every vertex that the target needs; an input stands before its users.
    pub vertices: Vec<Vertex>,
    /// The vertex with the target's tree; `None` for `FROM scratch` without any step.
    pub target: Option<VertexId>,
    /// The target's configuration, without `rootfs` and `history`.
    pub config: ImageConfig,
    /// The image that the target's tree begins with, if any.
    pub base: Option<BaseImage>,
    /// The history that the base image brings.
    pub base_history: Vec<History>,
    /// What each instruction of the target did, oldest first.
    pub history: Vec<HistoryItem>,
    /// Warnings of the plan, each with its place.
    pub warnings: Vec<(Span, String)>,
}

/// One entry of the history to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// The instruction as history shows it.
    pub created_by: String,
    /// The vertex whose layer this is; `None` for an instruction that only changes the configuration.
    pub vertex: Option<VertexId>,
}

/// An image that a build starts from or copies from.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// The full reference, for messages.
    pub reference: String,
    /// Its ID.
    pub id: ImageId,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, bottom first.
    pub diff_ids: Vec<DiffId>,
}

/// One step that yields a tree.
#[derive(Debug)]
pub struct Vertex {
    /// The tree that it works on; `None` for an empty one.
    pub parent: Option<VertexId>,
    /// What it does.
    pub op: Op,
    /// The instruction in the Dockerfile; `None` for an `ONBUILD` trigger of a base image.
    pub span: Option<Span>,
    /// The line that progress shows: `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction as written, on one line; tells which step this is when its inputs differ.
    pub text: String,
}

impl Vertex {
    /// The vertices whose results it needs.
    pub fn inputs(&self) -> impl Iterator<Item = VertexId> + '_ {
        let from = match &self.op {
            Op::Copy(CopyOp {
                source: CopySource::Vertex(from),
                ..
            }) => *from,
            _ => None,
        };
        self.parent.into_iter().chain(from)
    }
}

/// What a step does.
#[derive(Debug)]
pub enum Op {
    /// Takes an image's tree.
    Image(BaseImage),
    /// Runs a command.
    Run(RunOp),
    /// Copies files.
    Copy(CopyOp),
    /// Makes a working directory.
    Workdir(WorkdirOp),
}

/// `RUN`.
#[derive(Debug)]
pub struct RunOp {
    /// The argument vector, shell included.
    pub argv: Vec<String>,
    /// A script that is put at `/dev/pipes/<name>`, mode 0755, for a heredoc that starts with `#!`.
    pub script: Option<InlineFile>,
    /// The environment: image, ENV and ARG, in order.
    pub env: Vec<(String, String)>,
    /// Proxy settings: given to the command, not part of the key.
    pub proxy_env: Vec<(String, String)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// The user as written; empty for root.
    pub user: String,
    /// The network.
    pub network: RunNetwork,
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: String,
}

/// Where COPY and ADD copy from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// The build context.
    Context,
    /// Another step's tree; `None` for an empty one.
    Vertex(Option<VertexId>),
}

/// `COPY` and `ADD`.
#[derive(Debug)]
pub struct CopyOp {
    /// Where from.
    pub source: CopySource,
    /// The source patterns, expanded.
    pub patterns: Vec<CopyPattern>,
    /// Files whose content stands in the Dockerfile.
    pub inline: Vec<InlineFile>,
    /// The destination, absolute; a trailing `/` (or `/.`) says that it is a directory.
    pub destination: String,
    /// `--chown`, expanded.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<u32>,
    /// Whether local archives are extracted (ADD).
    pub unpack: bool,
    /// `COPY` or `ADD`, for messages.
    pub instruction: &'static str,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPattern {
    /// The pattern, expanded.
    pub text: String,
    /// Its place in the Dockerfile.
    pub span: Option<Span>,
}

/// `WORKDIR`.
#[derive(Debug)]
pub struct WorkdirOp {
    /// The directory, absolute and clean.
    pub path: String,
    /// The user whose it becomes, as written; empty for root.
    pub user: String,
}
