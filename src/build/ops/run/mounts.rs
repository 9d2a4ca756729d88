//! What a step mounts, made ready for its sandbox.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::agent::AgentSocket;
use super::caches::Caches;
use super::error::{MountError, RunError};
use super::points::{Kind, Points};
use crate::build::graph::RunOp;
use crate::build::mount::{CacheSpec, FileSpec, RunMount, RunMountKind};
use crate::build::ops::Tools;
use crate::build::step_options::Secret;
use crate::fs::{At, PathError, remove_tree};
use crate::layer::{EntryKind, Lower as _};
use crate::progress::StepId;
use crate::sandbox::{Mount, MountKind, Overlay, Reach, SecretBytes};
use crate::snapshot::{self, View};
use crate::store::{self, SnapshotId};

/// The mounts of a step. What they stand on goes when this is dropped, after the
/// step has ended.
#[derive(Debug)]
pub(super) struct Mounts<'t> {
    /// For the sandbox, in order.
    pub(super) list: Vec<Mount>,
    /// Variables that go with them, over all others of their names.
    pub(super) env: Vec<(String, String)>,
    /// Variables that go with them where the step has none of their names.
    pub(super) default_env: Vec<(String, String)>,
    /// The secrets that the step gets, by ID.
    pub(super) secrets: Vec<(&'t str, &'t Secret)>,
    /// Mount points that the tree lacks: a lowest layer.
    pub(super) stubs: Option<PathBuf>,
    points: Points,
    caches: Caches,
    agents: Vec<AgentSocket>,
    /// Last, so that it is removed when nothing uses it any more.
    dir: StepDir,
}

/// A step's own directory, removed when dropped.
#[derive(Debug)]
struct StepDir(PathBuf);

impl Drop for StepDir {
    fn drop(&mut self) {
        // What stays goes with the build's own directory.
        drop(remove_tree(&self.0));
    }
}

/// What one mount is made of.
struct Source {
    kind: MountKind,
    point: Kind,
}

impl<'t> Mounts<'t> {
    /// Makes them ready. `trees` has the tree of each mount that takes one, `below` is
    /// the tree that the step runs on.
    pub(super) fn prepare(
        tools: &'t Tools<'_>,
        op: &RunOp,
        trees: &[Option<SnapshotId>],
        below: &View,
        step: StepId,
    ) -> Result<Self, RunError> {
        let dir = StepDir(tools.scratch.join(format!("step-{}", step.0)));
        let mut mounts = Self {
            list: Vec::new(),
            env: Vec::new(),
            default_env: Vec::new(),
            secrets: Vec::new(),
            stubs: None,
            points: Points::default(),
            caches: Caches::default(),
            agents: Vec::new(),
            dir,
        };
        if op.mounts.is_empty() {
            return Ok(mounts);
        }
        mounts.make_dir()?;
        let with_trees: Vec<(&RunMount, Option<SnapshotId>)> = op
            .mounts
            .iter()
            .zip(trees.iter().copied().chain(std::iter::repeat(None)))
            .collect();
        for (_, tree) in &with_trees {
            // Another process may forget the cache while the step looks at it.
            if let Some(tree) = *tree
                && !tools.store.pin(tree)?
            {
                return Err(store::Error::NoSnapshot(tree).into());
            }
        }
        mounts.caches = Caches::take(tools, &with_trees, step)?;
        let mut sources: Vec<(&RunMount, Source)> = Vec::new();
        for (number, (mount, tree)) in with_trees.iter().enumerate() {
            let source = mounts
                .source(tools, mount, number, *tree)
                .map_err(|error| error.at(mount.span))?;
            // A secret may be only a variable.
            let source = source.filter(|_| !mount.target.is_empty());
            sources.extend(source.map(|source| (*mount, source)));
        }
        // What lies in another mount comes after it.
        sources.sort_by(|(a, _), (b, _)| a.target.cmp(&b.target));
        for (mount, source) in sources {
            mounts
                .place(mount, source, below)
                .map_err(|error| error.at(mount.span))?;
        }
        Ok(mounts)
    }

    /// A new directory with what every mount may need of it.
    fn make_dir(&mut self) -> Result<(), PathError> {
        // Of an earlier try.
        remove_tree(&self.dir.0)?;
        let stubs = self.dir.0.join("stubs");
        for path in [&self.dir.0, &stubs, &self.empty()] {
            std::fs::create_dir(path).at("create", path)?;
        }
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&stubs, mode).at("set the mode of", &stubs)?;
        self.stubs = Some(stubs);
        Ok(())
    }

    /// The layer of an empty tree.
    fn empty(&self) -> PathBuf {
        self.dir.0.join("empty")
    }

    /// What is mounted; nothing where it may be missing and is.
    fn source(
        &mut self,
        tools: &'t Tools<'_>,
        mount: &RunMount,
        number: usize,
        tree: Option<SnapshotId>,
    ) -> Result<Option<Source>, MountError> {
        Ok(match &mount.kind {
            RunMountKind::Bind { source, .. } => Some(self.bind(tools, source, number, tree)?),
            RunMountKind::Cache(spec) => Some(self.cache(spec, tree)?),
            RunMountKind::Tmpfs { size_bytes } => Some(tmpfs(*size_bytes)),
            RunMountKind::Secret {
                id,
                env,
                required,
                file,
            } => self.secret(tools, mount, id, env.as_deref(), *required, *file)?,
            RunMountKind::Ssh { id, required, file } => {
                self.agent(tools, mount, number, id, *required, *file)?
            }
        })
    }

    /// Sees to its mount point.
    fn place(&mut self, mount: &RunMount, source: Source, below: &View) -> Result<(), MountError> {
        let Source { kind, point } = source;
        if let Some(stubs) = &self.stubs {
            let place = self.points.add(below, stubs, &mount.target, point)?;
            if place.as_os_str().is_empty() || place.starts_with("proc") {
                return Err(MountError::Target {
                    target: mount.target.clone(),
                    place: format!("/{}", place.display()),
                });
            }
        }
        self.list.push(Mount {
            kind,
            target: PathBuf::from(&mount.target),
            read_only: mount.read_only,
        });
        Ok(())
    }

    /// A path of another tree, under a layer that is thrown away.
    fn bind(
        &self,
        tools: &Tools<'_>,
        source: &str,
        number: usize,
        tree: Option<SnapshotId>,
    ) -> Result<Source, MountError> {
        let view = View::open(tools.store, tree)?;
        let path = view.resolve(Path::new(source), true)?;
        let kind = view.entry(&path)?.map(|entry| entry.kind);
        let point = match kind {
            Some(EntryKind::Directory { .. }) => Kind::Directory,
            Some(_) => Kind::File,
            None if source.is_empty() => Kind::Directory,
            None => return Err(MountError::NoSource(format!("/{source}"))),
        };
        let mut lower = snapshot::layer_dirs(tools.store, tree).map_err(snapshot::Error::from)?;
        if lower.is_empty() {
            lower.push(self.empty());
        }
        let upper = self.dir.0.join(format!("upper-{number}"));
        let work = self.dir.0.join(format!("work-{number}"));
        for path in [&upper, &work] {
            std::fs::create_dir(path).at("create", path)?;
        }
        // overlayfs shows the root of the topmost layer.
        let root = std::fs::metadata(&lower[0]).at("look at", &lower[0])?;
        std::os::unix::fs::chown(&upper, Some(root.uid()), Some(root.gid()))
            .at("set the owner of", &upper)?;
        std::fs::set_permissions(&upper, root.permissions()).at("set the mode of", &upper)?;
        Ok(Source {
            kind: MountKind::Tree {
                overlay: Overlay {
                    lower,
                    upper,
                    work,
                    volatile: true,
                },
                path,
            },
            point,
        })
    }

    fn cache(&self, spec: &CacheSpec, tree: Option<SnapshotId>) -> Result<Source, MountError> {
        let missing = || MountError::NoSource(format!("/{}", spec.source));
        let root = self.caches.path(spec, tree).ok_or_else(missing)?;
        // With another tree to begin with, the source was taken from there.
        let path = if tree.is_some() { "" } else { &spec.source };
        let view = View::of_layers(vec![root.to_owned()]);
        let real = view.resolve(Path::new(path), true)?;
        let point = match view.entry(&real)?.map(|entry| entry.kind) {
            Some(EntryKind::Directory { .. }) => Kind::Directory,
            Some(_) => Kind::File,
            None => return Err(missing()),
        };
        Ok(Source {
            kind: MountKind::Beneath {
                root: root.to_owned(),
                path: PathBuf::from(path),
            },
            point,
        })
    }

    fn secret(
        &mut self,
        tools: &'t Tools<'_>,
        mount: &RunMount,
        id: &str,
        env: Option<&str>,
        required: bool,
        file: FileSpec,
    ) -> Result<Option<Source>, MountError> {
        let given = tools.request.steps.secrets.get_key_value(id);
        let Some((id, secret)) = given else {
            return if required {
                Err(MountError::NoSecret(id.to_owned()))
            } else {
                Ok(None)
            };
        };
        self.secrets.push((id, secret));
        if let Some(name) = env {
            let value = std::str::from_utf8(secret.value()).ok();
            let value = value.filter(|value| !value.contains('\0'));
            let value = value.ok_or_else(|| MountError::NotAVariable(id.clone()))?;
            self.env.push((name.to_owned(), value.to_owned()));
        }
        if mount.target.is_empty() {
            return Ok(None);
        }
        Ok(Some(Source {
            kind: MountKind::File {
                content: SecretBytes(secret.value().to_vec()),
                mode: file.mode & 0o7777,
                uid: file.uid,
                gid: file.gid,
            },
            point: Kind::File,
        }))
    }

    fn agent(
        &mut self,
        tools: &Tools<'_>,
        mount: &RunMount,
        number: usize,
        id: &str,
        required: bool,
        file: FileSpec,
    ) -> Result<Option<Source>, MountError> {
        let Some(agent) = tools.request.steps.agents.get(id) else {
            return if required {
                Err(MountError::NoAgent(id.to_owned()))
            } else {
                Ok(None)
            };
        };
        let name = format!("agent-{number}");
        let socket = AgentSocket::open(&self.dir.0, &name, &agent.socket, file);
        let socket = socket.map_err(|source| MountError::DeadAgent {
            id: id.to_owned(),
            socket: agent.socket.clone(),
            source,
        })?;
        let source = socket.path.clone();
        self.agents.push(socket);
        if self.default_env.is_empty() {
            let variable = ("SSH_AUTH_SOCK".to_owned(), mount.target.clone());
            self.default_env.push(variable);
        }
        Ok(Some(Source {
            kind: MountKind::Bind {
                source,
                propagation: None,
                reach: Reach::All,
            },
            point: Kind::File,
        }))
    }

    /// Takes mount points away that the sandbox made in the step's layer.
    pub(super) fn clean(&self, layer: &Path) -> Result<(), PathError> {
        self.points.clean(layer)
    }
}

fn tmpfs(size_bytes: Option<u64>) -> Source {
    let options = size_bytes.map_or_else(String::new, |size| format!("size={size}"));
    Source {
        kind: MountKind::Tmpfs { options },
        point: Kind::Directory,
    }
}
