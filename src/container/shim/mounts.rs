//! The mounts that the user asked for, and the anonymous volumes.

use std::path::{Path, PathBuf};

use super::super::Error;
use super::super::bundle;
use super::super::dir::Dir;
use super::super::mounts::{BindRecursive, MountRequest};
use super::super::record::Record;
use super::super::volumes::{self, Backing};
use crate::fs::At;
use crate::image;
use crate::sandbox::{Mount, MountKind, Overlay, Reach};
use crate::snapshot;
use crate::store::{Paths, Store};

/// The mounts of a container, in the order in which they were asked for.
pub(in crate::container) fn user_mounts(
    dir: &Dir,
    record: &Record,
    paths: &Paths,
) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    for volume in &record.volumes {
        let source = volumes::anonymous(paths, dir, volume);
        mounts.push(bundle::own(source, &volume.target, volume.read_only));
    }
    for (number, request) in record.request.mounts.iter().enumerate() {
        mounts.extend(match request {
            MountRequest::Bind { .. } => Some(bind(request)?),
            MountRequest::Volume {
                name: Some(name),
                target,
                read_only,
                subpath,
                ..
            } => {
                let (kind, is_read_only) = volume(paths, name, subpath.as_deref())?;
                Some(Mount {
                    kind,
                    target: PathBuf::from(target),
                    read_only: *read_only || is_read_only,
                })
            }
            MountRequest::Volume { name: None, .. } => None,
            MountRequest::Tmpfs {
                target,
                options,
                read_only,
            } => Some(Mount {
                kind: MountKind::Tmpfs {
                    options: options.clone(),
                },
                target: PathBuf::from(target),
                read_only: *read_only,
            }),
            MountRequest::Image {
                image,
                target,
                subpath,
            } => Some(Mount {
                kind: tree(dir, paths, number, image, subpath.as_deref())?,
                target: PathBuf::from(target),
                read_only: true,
            }),
        });
    }
    Ok(mounts)
}

fn bind(request: &MountRequest) -> Result<Mount, Error> {
    let MountRequest::Bind {
        source,
        target,
        read_only,
        propagation,
        create,
        recursive,
    } = request
    else {
        return Err(Error::Invalid("no bind mount".to_owned()));
    };
    if *create {
        std::fs::create_dir_all(source)
            .or_else(|err| if source.exists() { Ok(()) } else { Err(err) })
            .at("create", source)?;
    }
    let reach = match recursive {
        BindRecursive::Enabled | BindRecursive::Readonly => Reach::All,
        BindRecursive::Writable => Reach::TopReadOnly,
        BindRecursive::Disabled => Reach::Top,
    };
    let mut mount = bundle::bind(source.clone(), target, *read_only, propagation.clone());
    if let MountKind::Bind { reach: own, .. } = &mut mount.kind {
        *own = reach;
    }
    Ok(mount)
}

/// What a volume mounts, and whether its own options make it read-only.
fn volume(paths: &Paths, name: &str, subpath: Option<&str>) -> Result<(MountKind, bool), Error> {
    let path = PathBuf::from(subpath.unwrap_or_default());
    let part = |root| match subpath {
        Some(_) => MountKind::Beneath {
            root,
            path: path.clone(),
        },
        None => whole(root),
    };
    Ok(match volumes::backing_of(paths, name)? {
        Backing::Directory => (part(volumes::named(paths, name)), false),
        Backing::Bind {
            path: root,
            read_only,
        } => (part(root), read_only),
        Backing::FileSystem {
            kind,
            device,
            options,
        } => {
            let kind = MountKind::FileSystem {
                kind,
                device,
                options,
                path,
            };
            (kind, false)
        }
    })
}

fn whole(source: PathBuf) -> MountKind {
    MountKind::Bind {
        source,
        propagation: None,
        reach: Reach::All,
    }
}

/// The files of an image, over which lies a directory that stays empty.
fn tree(
    dir: &Dir,
    paths: &Paths,
    number: usize,
    image: &str,
    subpath: Option<&str>,
) -> Result<MountKind, Error> {
    let store = Store::open(paths.clone())?;
    let found = image::find(&store, image)?;
    let snapshot = image::snapshot_of(&store, &found)?;
    let own = dir.path("images").join(number.to_string());
    let (upper, work) = (own.join("fs"), own.join("work"));
    for made in [&upper, &work] {
        std::fs::create_dir_all(made).at("create", made)?;
    }
    let mut lower = snapshot::layer_dirs(&store, snapshot)?;
    if lower.is_empty() {
        lower.push(empty(&own)?);
    }
    Ok(MountKind::Tree {
        overlay: Overlay {
            lower,
            upper,
            work,
            volatile: true,
        },
        path: PathBuf::from(subpath.unwrap_or_default()),
    })
}

/// An image without layers has no files.
fn empty(own: &Path) -> Result<PathBuf, Error> {
    let path = own.join("empty");
    std::fs::create_dir_all(&path).at("create", &path)?;
    Ok(path)
}
