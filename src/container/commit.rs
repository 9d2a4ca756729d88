//! An image of what a container has become.

use std::path::Path;

use super::dir::Dir;
use super::record::Status;
use super::{Error, Request, find, pause};
use crate::fs::PathError;
use crate::image::{self, NewImage};
use crate::layer::{
    EntryKind, Limits, PackOptions, Packer, UnpackError, UnpackOptions, unpack, walk_tree,
};
use crate::oci::{ContainerConfig, History, ImageConfig, ImageId, Reference};
use crate::snapshot::{Active, View, tree_bytes};
use crate::store::{ContainerRow, Store};

use super::copy::Exact;

/// How a container becomes an image.
#[derive(Debug, Default)]
pub struct CommitOptions {
    /// The name to give.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// The comment in its history.
    pub message: Option<String>,
    /// Whether the container rests meanwhile.
    pub pause: bool,
}

/// Makes an image of the container `text`: the layers of its own image and one
/// with what it changed. `change` may change the configuration, which is that of
/// the container. Volumes are no part of it.
pub fn commit<E: From<Error>>(
    store: &Store,
    text: &str,
    options: CommitOptions,
    change: impl FnOnce(&mut ContainerConfig) -> Result<(), E>,
) -> Result<ImageId, E> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let record = dir.record()?;
    let base = image::find(store, &row.image.to_string()).map_err(Error::from)?;
    let mut config = base.config.clone();
    config.config = container_config(&record.request, &base.config.config);
    change(&mut config.config)?;
    let running = dir.state()?.status == Status::Running;
    let paused = options.pause && running;
    if paused {
        pause::pause(store, &row.id)?;
    }
    let layer = take_layer(store, &row, &dir);
    if paused {
        // It may have ended meanwhile.
        let _gone = pause::unpause(store, &row.id);
    }
    Ok(make_image(
        store,
        layer?,
        base,
        config,
        &record.request,
        options,
    )?)
}

/// A snapshot with the container's own layer, on that of its image.
fn take_layer<'a>(store: &'a Store, row: &ContainerRow, dir: &Dir) -> Result<Active<'a>, Error> {
    let active = Active::begin(store, row.snapshot)?;
    let lower = View::open(store, row.snapshot)?;
    let (mut reader, writer) = std::io::pipe().map_err(|source| PathError {
        action: "read",
        path: dir.path("fs"),
        source,
    })?;
    let unpacked = std::thread::scope(|scope| {
        let packer = scope.spawn(|| pack(&dir.path("fs"), writer));
        let how = UnpackOptions {
            limits: Limits::default(),
            whiteouts: true,
        };
        let unpacked = unpack(&mut reader, &active.fs(), &lower, how);
        // Ends a packer that would wait for its reader for ever.
        drop(reader);
        let packed = packer.join().unwrap_or(Ok(()));
        packed.and(unpacked.map_err(Error::Unpack))
    });
    unpacked?;
    Ok(active)
}

/// Packs a layer that may change meanwhile: of a file that became shorter, zeros
/// take the place of what is gone.
fn pack(dir: &Path, out: impl std::io::Write) -> Result<(), Error> {
    let fail = |path: &Path| {
        let path = dir.join(path);
        move |source| PathError {
            action: "pack",
            path,
            source,
        }
    };
    let mut packer = Packer::new(out, PackOptions::default());
    walk_tree::<PathError>(dir, &mut |entry, file| {
        let added = match (file, &entry.kind) {
            (Some(file), EntryKind::File { size, .. }) => {
                packer.entry(entry, &mut Exact::new(file, *size))
            }
            _ => packer.entry(entry, &mut std::io::empty()),
        };
        added.map_err(fail(&entry.path))
    })?;
    packer.finish().map_err(fail(Path::new("")))?;
    Ok(())
}

fn make_image(
    store: &Store,
    active: Active<'_>,
    base: image::Image,
    mut config: ImageConfig,
    request: &Request,
    options: CommitOptions,
) -> Result<ImageId, Error> {
    let bytes = tree_bytes(&active.fs())?;
    let row = active.commit(bytes, None, None)?;
    let now = format!("{:.9}", jiff::Timestamp::now());
    config.created = Some(now.clone());
    if options.author.is_some() {
        config.author.clone_from(&options.author);
    }
    let program = request.argv().join(" ");
    config.history.push(History {
        created: Some(now),
        created_by: Some(program),
        author: options.author,
        comment: options.message,
        ..History::default()
    });
    let new = NewImage {
        top: Some(row.id),
        base: Some(base),
        config,
        names: options.name.into_iter().collect(),
    };
    Ok(image::assemble(store, &new)?.id)
}

/// What a container of the new image runs: what this one runs.
fn container_config(request: &Request, image: &ContainerConfig) -> ContainerConfig {
    let empty = serde_json::Map::new;
    let ports = request.expose.iter().map(|port| {
        let port = if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        };
        (port, empty())
    });
    ContainerConfig {
        user: request.user.clone(),
        exposed_ports: ports.collect(),
        env: request.env.clone(),
        entrypoint: request.entrypoint.clone().filter(|words| !words.is_empty()),
        cmd: request.command.clone(),
        volumes: request
            .volumes
            .iter()
            .map(|path| (path.clone(), empty()))
            .collect(),
        working_dir: request.working_dir.clone(),
        labels: request.labels.clone(),
        stop_signal: request.stop_signal.clone(),
        healthcheck: request.health.check.clone(),
        ..image.clone()
    }
}

impl From<UnpackError> for Error {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}
