//! `RUN --mount` to what is mounted.

use super::super::Planner;
use super::super::error::PlanError;
use super::super::instructions::absolute;
use super::super::stage::StageState;
use crate::build::graph::{ContextId, CopyOp, CopyPattern, CopySource, Op, Vertex, VertexId};
use crate::build::mount::{CacheSpec, FileSpec, RunMount, RunMountKind};
use crate::dockerfile::{MountKind, MountOptions, Run, Sharing, Span, Word, mount_options_with};

/// Where secrets are put that name no place.
const SECRETS: &str = "/run/secrets";
/// Where sockets of agents are put that name no place; a number follows.
const AGENTS: &str = "/run/buildkit/ssh_agent";
/// The build argument that keeps the cache mounts of projects apart.
const NAMESPACE_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";

impl Planner<'_, '_> {
    /// What the step mounts, as it is written.
    pub(super) fn mounts(
        &mut self,
        index: usize,
        stage: &StageState,
        run: &Run,
    ) -> Result<Vec<RunMount>, PlanError> {
        let mut mounts: Vec<RunMount> = Vec::new();
        let mut agents = 0;
        for word in &run.flags.mounts {
            let options = self.mount_options(stage, word)?;
            let kind = self.mount_kind(index, &options, word)?;
            let target = match (&options.target, &kind) {
                (Some(target), _) => target.clone(),
                (None, RunMountKind::Secret { env: Some(_), .. }) => String::new(),
                (None, RunMountKind::Secret { id, .. }) => format!("{SECRETS}/{}", base_name(id)),
                (None, RunMountKind::Ssh { .. }) => format!("{AGENTS}.{agents}"),
                (None, _) => ".".to_owned(),
            };
            agents += usize::from(matches!(kind, RunMountKind::Ssh { .. }));
            let target = if target.is_empty() {
                target
            } else {
                mount_target(stage, &target, word.span)?
            };
            mounts.push(RunMount {
                target,
                read_only: options.read_only,
                kind,
                span: Some(word.span).filter(|span| *span != Span::default()),
            });
        }
        Ok(mounts)
    }

    fn mount_options(&self, stage: &StageState, word: &Word) -> Result<MountOptions, PlanError> {
        mount_options_with(&word.text, |value| {
            let value = Word {
                text: value.to_owned(),
                ..word.clone()
            };
            self.expand(&value, &stage.scope).map_err(|err| err.message)
        })
        .map_err(|message| PlanError::new(word.span, message))
    }

    fn mount_kind(
        &mut self,
        index: usize,
        options: &MountOptions,
        word: &Word,
    ) -> Result<RunMountKind, PlanError> {
        let source = options.source.as_deref().map(relative).unwrap_or_default();
        Ok(match options.kind {
            MountKind::Bind => {
                let from = if let Some(from) = &options.from {
                    self.mount_from(index, from, &source, word)?
                } else {
                    Some(self.context_part(ContextId::MAIN, "", &source, word.span))
                };
                RunMountKind::Bind { from, source }
            }
            MountKind::Cache => RunMountKind::Cache(CacheSpec {
                id: options
                    .id
                    .clone()
                    .unwrap_or_else(|| clean(options.target.as_deref().unwrap_or_default())),
                namespace: self.cache_namespace(),
                sharing: options.sharing.unwrap_or(Sharing::Shared),
                from: match &options.from {
                    Some(from) => self.mount_from(index, from, &source, word)?,
                    None => None,
                },
                directory: owner(options, 0o755).filter(|_| source.is_empty()),
                source,
            }),
            MountKind::Tmpfs => RunMountKind::Tmpfs {
                size_bytes: options.size_bytes.filter(|size| *size > 0),
            },
            MountKind::Secret => {
                let id = options.source.clone().or_else(|| options.id.clone());
                let target = || options.target.as_deref().map(base_name);
                let id = id
                    .or_else(|| target().map(str::to_owned))
                    .unwrap_or_default();
                let env = options.env.clone();
                RunMountKind::Secret {
                    env: env.map(|env| if env.is_empty() { id.clone() } else { env }),
                    id,
                    required: options.required,
                    file: owner(options, 0o400).unwrap_or(DEFAULT_SECRET),
                }
            }
            MountKind::Ssh => {
                let id = options.source.clone().or_else(|| options.id.clone());
                RunMountKind::Ssh {
                    id: id.unwrap_or_else(|| "default".to_owned()),
                    required: options.required,
                    file: owner(options, 0o600).unwrap_or(DEFAULT_SOCKET),
                }
            }
        })
    }

    /// The tree that `from` of a mount names; of a context only the path that is mounted.
    fn mount_from(
        &mut self,
        index: usize,
        from: &str,
        source: &str,
        word: &Word,
    ) -> Result<Option<VertexId>, PlanError> {
        let word = Word {
            text: from.to_owned(),
            ..word.clone()
        };
        let span = word.span;
        let tree = self.copy_from(index, &word).map_err(|mut err| {
            if let Some(rest) = err.message.strip_prefix("cannot copy from") {
                err.message = format!("cannot mount from{rest}");
            }
            err
        })?;
        match tree {
            CopySource::Vertex(vertex) => Ok(vertex),
            CopySource::Context(id) => Ok(Some(self.context_part(id, from, source, span))),
        }
    }

    /// The step that takes a path of a context onto an empty tree; one for all
    /// mounts of that path. `name` is the context's, empty for the main one.
    fn context_part(
        &mut self,
        context: ContextId,
        name: &str,
        source: &str,
        span: Span,
    ) -> VertexId {
        let text = format!("mount {name}:/{source}");
        let known = self.vertices.iter().position(|vertex| vertex.text == text);
        if let Some(known) = known {
            return VertexId(known);
        }
        let span = Some(span).filter(|span| *span != Span::default());
        let mut shown = "[internal] load build context".to_owned();
        for part in [name, source].into_iter().filter(|part| !part.is_empty()) {
            shown.push(' ');
            shown.push_str(part);
        }
        let op = CopyOp {
            patterns: vec![CopyPattern {
                text: format!("/{source}"),
                source: CopySource::Context(context),
                span,
                literal: true,
            }],
            inline: Vec::new(),
            destination: format!("/{source}"),
            chown: None,
            users: None,
            chmod: None,
            exclude: Vec::new(),
            parents: false,
            unpack: false,
            unpack_remote: false,
            instruction: "RUN --mount",
        };
        self.push(Vertex {
            parent: None,
            op: Op::Copy(op),
            span,
            name: shown,
            text,
        })
    }

    fn cache_namespace(&self) -> String {
        let args = self.request.build_args;
        args.get(NAMESPACE_ARG).cloned().unwrap_or_default()
    }
}

const DEFAULT_SECRET: FileSpec = FileSpec {
    mode: 0o400,
    uid: 0,
    gid: 0,
};
const DEFAULT_SOCKET: FileSpec = FileSpec {
    mode: 0o600,
    uid: 0,
    gid: 0,
};

/// Mode and owner, if any of them was given.
fn owner(options: &MountOptions, mode: u32) -> Option<FileSpec> {
    let MountOptions {
        mode: own,
        uid,
        gid,
        ..
    } = options;
    (own.is_some() || uid.is_some() || gid.is_some()).then(|| FileSpec {
        mode: own.unwrap_or(mode),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
    })
}

/// The target, absolute and clean.
fn mount_target(stage: &StageState, written: &str, span: Span) -> Result<String, PlanError> {
    let target = absolute(&stage.config.config.working_dir, written);
    let refuse = |why: &str| {
        Err(PlanError::new(
            span,
            format!("invalid mount target {target:?}{why}"),
        ))
    };
    if target == "/" {
        return refuse("");
    }
    // What stands there decides what the rest of the sandbox means.
    if target == "/proc" || target.starts_with("/proc/") {
        return refuse(": nothing can be mounted inside /proc");
    }
    Ok(target)
}

/// A path relative to the root of its tree; `..` stops there.
fn relative(path: &str) -> String {
    clean(&format!("/{path}"))[1..].to_owned()
}

/// The shortest path that means the same, as Go's `path.Clean` has it.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("/", "/"),
            ("/a//b/", "/a/b"),
            ("a/../..", ".."),
            ("/../a", "/a"),
            ("a/./b/..", "a"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        assert_eq!(relative("../x/./y"), "x/y");
        assert_eq!(relative("."), "");
        assert_eq!(base_name("/a/b/"), "b");
    }
}
