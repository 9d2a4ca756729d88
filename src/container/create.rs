//! Making a container.

use std::path::Path;

use super::dir::Dir;
use super::record::{AnonymousVolume, Record};
use super::request::{MountRequest, NetworkMode, Request};
use super::{EndpointRequest, Error, check, events, names, now, ports, volumes};
use crate::fs::{At, PathError};
use crate::image::{self, Image};
use crate::layer::Lower;
use crate::snapshot::View;
use crate::store::{self, ContainerRow, SnapshotId, Store};

/// How often a made-up name is tried before the ID serves as the name.
const NAME_TRIES: usize = 6;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its ID.
    pub id: String,
    /// What the user should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Makes a container of `image`. It appears in the register last, when all of
/// it is there; what an interrupted creation leaves is collected by [`super::collect`].
pub fn create(store: &Store, image: &Image, mut request: Request) -> Result<Created, Error> {
    if let Some(name) = &mut request.name {
        // The form in which Docker itself shows names.
        if let Some(plain) = name.strip_prefix('/') {
            *name = plain.to_owned();
        }
        names::check(name)?;
    }
    let request = request.with_image(&image.config.config);
    let mut request = volumes::with_shared(store, request)?;
    request.check(check::processors())?;
    ports::wanted(&request)?;
    resolve_networks(store, &mut request)?;
    let warnings = request.warnings();
    let snapshot = image::snapshot_of(store, image)?;
    let id = names::new_id();
    let dir = Dir::new(store.paths(), &id);
    std::fs::create_dir_all(dir.data()).at("create", dir.data())?;
    let made = fill(store, &dir, image, snapshot, request);
    if made.is_err() {
        // The first failure is the one to tell.
        let _left = crate::fs::remove_tree(dir.data());
    }
    made?;
    events::note(store.paths(), &dir, "create", &[]);
    Ok(Created { id, warnings })
}

/// Finds the networks that the request names, by the names that they have.
fn resolve_networks(store: &Store, request: &mut Request) -> Result<(), Error> {
    if let (NetworkMode::Named(text), true) = (&request.network, request.endpoints.is_empty()) {
        request.endpoints.push(EndpointRequest {
            network: text.clone(),
            ..EndpointRequest::default()
        });
    }
    if !request.network.is_joined() {
        // What else was said of such a network is refused by the check before.
        request.endpoints.clear();
        return Ok(());
    }
    let own = |endpoint: &EndpointRequest| matches!(endpoint.network.as_str(), "host" | "none");
    if request.endpoints.iter().any(own) {
        return Err(Error::Invalid(
            "cannot connect container to host network - container must be created in host \
             network mode"
                .to_owned(),
        ));
    }
    let mut known: Vec<String> = Vec::new();
    for endpoint in &mut request.endpoints {
        endpoint.resolve(store)?;
        if known.contains(&endpoint.network) {
            return Err(Error::Invalid(format!(
                "network {} is specified multiple times",
                endpoint.network
            )));
        }
        known.push(endpoint.network.clone());
    }
    if let (NetworkMode::Named(_), Some(first)) = (&request.network, request.endpoints.first()) {
        request.network = NetworkMode::parse(&first.network)?;
    }
    Ok(())
}

fn fill(
    store: &Store,
    dir: &Dir,
    image: &Image,
    snapshot: Option<SnapshotId>,
    request: Request,
) -> Result<(), Error> {
    // Held until the row is there: whoever collects leaves a locked directory alone.
    let busy = || Error::Busy(dir.id().to_owned());
    let _making = dir.try_lock()?.ok_or_else(busy)?;
    restrict(dir.data())?;
    let name = request.name.clone();
    let image_id = image.id.to_string();
    let mut record = Record::new(dir.id().to_owned(), image_id, now(), request);
    let view = View::open(store, snapshot)?;
    make_tree(dir, &view)?;
    // Held until the container's documents name its volumes.
    let _using = volumes::lock_for_use(store.paths())?;
    record.request.mounts = with_images(store, record.request.mounts)?;
    record.volumes = make_volumes(store, &view, &record.request)?;
    dir.write_record(&record)?;
    let named = register(store, name, |name| ContainerRow {
        id: dir.id().to_owned(),
        name,
        image: image.id,
        snapshot,
        created_at: record.created_at,
    })?;
    events::keep_name(dir, &named);
    Ok(())
}

/// Others have no business in a container's directory: its files keep their modes.
fn restrict(path: &Path) -> Result<(), PathError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .at("set the mode of", path)
}

/// The container's own layer. overlayfs shows the top directory's owner and mode
/// as those of the root, so they are copied from the image's.
fn make_tree(dir: &Dir, view: &View) -> Result<(), PathError> {
    use rustix::fs::{Gid, Mode, Uid, chmod, chown};
    let (fs, work) = (dir.path("fs"), dir.path("work"));
    std::fs::create_dir(&fs).at("create", &fs)?;
    std::fs::create_dir(&work).at("create", &work)?;
    let (mode, uid, gid) = match view.entry(Path::new(""))? {
        Some(root) => (root.mode, root.uid, root.gid),
        None => (0o755, 0, 0),
    };
    if (uid, gid) != (0, 0) {
        chown(&fs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .at("set the owner of", &fs)?;
    }
    chmod(&fs, Mode::from_bits_truncate(mode)).at("set the mode of", &fs)
}

/// The mounts with the IDs of images for their names: a name may mean another
/// image when the container starts.
fn with_images(store: &Store, mounts: Vec<MountRequest>) -> Result<Vec<MountRequest>, Error> {
    let resolve = |mount| match mount {
        MountRequest::Image {
            image,
            target,
            subpath,
        } => {
            let found = image::find(store, &image)?;
            // Unpacked now: a start finds it ready.
            image::snapshot_of(store, &found)?;
            Ok(MountRequest::Image {
                image: found.id.to_string(),
                target,
                subpath,
            })
        }
        other => Ok(other),
    };
    mounts.into_iter().map(resolve).collect()
}

/// Makes the volumes; returns the anonymous ones.
fn make_volumes(
    store: &Store,
    view: &View,
    request: &Request,
) -> Result<Vec<AnonymousVolume>, Error> {
    let mut anonymous = Vec::new();
    let mut make = |target: &str, read_only: bool, copy: bool| -> Result<(), Error> {
        let volume = AnonymousVolume {
            name: names::new_id(),
            target: target.to_owned(),
            read_only,
        };
        volumes::make_anonymous(store.paths(), &volume.name, view, target, copy)?;
        anonymous.push(volume);
        Ok(())
    };
    for mount in &request.mounts {
        if let MountRequest::Volume {
            target,
            read_only,
            copy,
            ..
        } = mount
        {
            match mount.volume() {
                Some(wanted) => volumes::make_named(store.paths(), &wanted, view, target, *copy)?,
                None => make(target, *read_only, *copy)?,
            }
        }
    }
    for target in &request.volumes {
        let target = Path::new("/").join(target).to_string_lossy().into_owned();
        let target = target.trim_end_matches('/');
        let mounted = |mount: &MountRequest| mount.target() == target;
        if !target.is_empty() && !request.mounts.iter().any(mounted) {
            make(target, false, true)?;
        }
    }
    Ok(anonymous)
}

/// Registers the container under its name, or under a made-up one that is free;
/// returns which.
fn register(
    store: &Store,
    name: Option<String>,
    row: impl Fn(String) -> ContainerRow,
) -> Result<String, Error> {
    if let Some(name) = name {
        store.container_put(&row(name.clone()))?;
        return Ok(name);
    }
    for attempt in 0..NAME_TRIES {
        let row = row(names::generate(attempt > 0));
        match store.container_put(&row) {
            Err(store::Error::NameTaken { .. }) => {}
            other => return Ok(other.map(|()| row.name)?),
        }
    }
    let mut last = row(String::new());
    last.name = last.id.chars().take(12).collect();
    store.container_put(&last)?;
    Ok(last.name)
}
