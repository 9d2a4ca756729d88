//! What a RUN step mounts, all decided but where secrets and agents come from.

use super::graph::VertexId;
use crate::dockerfile::{Sharing, Span};

/// `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunMount {
    /// Where: absolute and clean. Empty for a secret that is only a variable.
    pub(super) target: String,
    /// Whether it cannot be written to.
    pub(super) read_only: bool,
    /// What.
    pub(super) kind: RunMountKind,
    /// Its place in the Dockerfile.
    pub(super) span: Option<Span>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunMountKind {
    /// A path of another step's tree. What is written to it is thrown away.
    Bind {
        /// The tree; `None` for an empty one.
        from: Option<VertexId>,
        /// The path in it, relative and clean; empty for all of it.
        source: String,
    },
    /// A directory that outlives the build.
    Cache(CacheSpec),
    /// A directory in memory.
    Tmpfs {
        /// Its size; half of the machine's memory when absent.
        size_bytes: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The variable that has it.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The file's mode and owner.
        file: FileSpec,
    },
    /// The socket of an agent.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// The socket's mode and owner.
        file: FileSpec,
    },
}

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheSpec {
    /// Its name.
    pub(super) id: String,
    /// What keeps projects apart.
    pub(super) namespace: String,
    /// Who may use it at the same time.
    pub(super) sharing: Sharing,
    /// The tree that it begins with; `None` for an empty one.
    pub(super) from: Option<VertexId>,
    /// The path in it that is mounted, relative and clean; empty for all of it.
    pub(super) source: String,
    /// Mode and owner of the directory that it begins with, where any was given.
    pub(super) directory: Option<FileSpec>,
}

/// A mode and an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSpec {
    /// The mode.
    pub(super) mode: u32,
    /// The user.
    pub(super) uid: u32,
    /// The group.
    pub(super) gid: u32,
}

impl RunMount {
    /// The step whose tree it takes.
    pub(super) fn from(&self) -> Option<VertexId> {
        match &self.kind {
            RunMountKind::Bind { from, .. } | RunMountKind::Cache(CacheSpec { from, .. }) => *from,
            _ => None,
        }
    }

    /// The path of that tree that it takes, relative and clean.
    pub(super) fn source(&self) -> &str {
        match &self.kind {
            RunMountKind::Bind { source, .. } | RunMountKind::Cache(CacheSpec { source, .. }) => {
                source
            }
            _ => "",
        }
    }

    /// Whether it takes a tree, if only an empty one.
    pub(super) fn takes_tree(&self) -> bool {
        matches!(
            self.kind,
            RunMountKind::Bind { .. } | RunMountKind::Cache(_)
        )
    }

    /// What of it enters the step's cache key: not the name of a cache nor who
    /// shares it, not whether a secret must be there, and nothing of a secret's value.
    pub(super) fn key_text(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            let value = value.to_string();
            if !text.is_empty() {
                text.push(',');
            }
            // Commas in a value must not look like another option.
            text.push_str(&format!(
                "{name}={}",
                value.replace('\\', "\\\\").replace(',', "\\,")
            ));
        };
        let file = |add: &mut dyn FnMut(&str, &dyn std::fmt::Display), file: &FileSpec| {
            add("mode", &format!("{:o}", file.mode));
            add("uid", &file.uid);
            add("gid", &file.gid);
        };
        match &self.kind {
            RunMountKind::Bind { source, .. } => {
                add("type", &"bind");
                add("source", source);
            }
            RunMountKind::Cache(cache) => {
                add("type", &"cache");
                add("source", &cache.source);
                if let Some(directory) = &cache.directory {
                    file(&mut add, directory);
                }
            }
            RunMountKind::Tmpfs { size_bytes } => {
                add("type", &"tmpfs");
                add("size", &size_bytes.unwrap_or_default());
            }
            RunMountKind::Secret {
                id, env, file: at, ..
            } => {
                add("type", &"secret");
                add("id", id);
                if let Some(env) = env {
                    add("env", env);
                }
                file(&mut add, at);
            }
            RunMountKind::Ssh { id, file: at, .. } => {
                add("type", &"ssh");
                add("id", id);
                file(&mut add, at);
            }
        }
        add("target", &self.target);
        add("readonly", &self.read_only);
        text
    }
}
