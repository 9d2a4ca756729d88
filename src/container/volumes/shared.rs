//! The mounts of other containers: `--volumes-from`.

use crate::container::dir::Dir;
use crate::container::request::{MountRequest, Request};
use crate::container::{Error, find};
use crate::store::Store;

/// Gives a request the mounts of the containers that it names; its own win over
/// theirs.
pub(in crate::container) fn with_shared(
    store: &Store,
    mut request: Request,
) -> Result<Request, Error> {
    for text in request.volumes_from.clone() {
        if text.is_empty() {
            let message = "volumes-from specification cannot be an empty string";
            return Err(Error::Invalid(message.to_owned()));
        }
        let (name, mode) = text.split_once(':').unwrap_or((&text, "rw"));
        let mut words = mode.split(',');
        let known = words.find(|word| matches!(*word, "ro" | "rw" | "z" | "Z"));
        let Some(known) = known else {
            return Err(Error::Invalid(format!("invalid mode: {mode}")));
        };
        let read_only = known == "ro";
        let other = find(store, name)?;
        let record = Dir::new(store.paths(), &other.id).record()?;
        let anonymous = record.volumes.iter().map(|volume| MountRequest::Volume {
            name: Some(volume.name.clone()),
            target: volume.target.clone(),
            read_only: volume.read_only,
            copy: false,
            subpath: None,
            labels: Vec::new(),
            options: Vec::new(),
        });
        let named = record.request.mounts.iter().filter(|mount| {
            !matches!(
                mount,
                MountRequest::Volume { name: None, .. } | MountRequest::Tmpfs { .. }
            )
        });
        for mut mount in anonymous.chain(named.cloned()) {
            if let MountRequest::Bind { read_only: own, .. }
            | MountRequest::Volume { read_only: own, .. } = &mut mount
            {
                *own |= read_only;
            }
            let taken = |known: &MountRequest| known.target() == mount.target();
            if !request.mounts.iter().any(taken) {
                request.mounts.push(mount);
            }
        }
    }
    Ok(request)
}
