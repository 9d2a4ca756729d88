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
        let (name, mode) = text.split_once(':').unwrap_or((&text, "rw"));
        let read_only = match mode
            .split(',')
            .find(|word| matches!(*word, "ro" | "rw" | "z" | "Z"))
        {
            Some(word) => word == "ro",
            None => {
                let message =
                    format!("invalid volume specification: '{text}': invalid mode: {mode}");
                return Err(Error::Invalid(message));
            }
        };
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
