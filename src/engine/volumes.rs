//! Verbs on volumes.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::{Engine, Error};
use crate::container;

pub use crate::container::{Volume, VolumeFilter, VolumeRequest};

impl Engine {
    /// Makes a volume; one that is there already stays as it is.
    pub fn volume_create(&self, request: VolumeRequest) -> Result<Volume, Error> {
        Ok(container::create_volume(&self.store, request)?)
    }

    /// The volume with this name.
    pub fn volume(&self, name: &str) -> Result<Volume, Error> {
        Ok(container::find_volume(&self.store, name)?)
    }

    /// The volumes that `filter` lets through, sorted by name.
    pub fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>, Error> {
        Ok(container::list_volumes(&self.store, filter)?)
    }

    /// The containers that use each volume.
    pub fn volume_uses(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        Ok(container::volume_uses(&self.store)?)
    }

    /// Bytes in a volume.
    pub fn volume_size(&self, volume: &Volume) -> Result<u64, Error> {
        Ok(container::volume_size(volume)?)
    }

    /// Removes a volume that no container has; with `missing_is_fine` one that
    /// is not there is no error.
    pub fn volume_remove(&self, name: &str, missing_is_fine: bool) -> Result<(), Error> {
        Ok(container::remove_volume(
            &self.store,
            name,
            missing_is_fine,
        )?)
    }

    /// Removes volumes that no container has, only anonymous ones unless `all`;
    /// returns their names and the bytes freed.
    pub fn volumes_prune(
        &self,
        all: bool,
        filter: &VolumeFilter,
    ) -> Result<(Vec<String>, u64), Error> {
        Ok(container::prune_volumes(&self.store, all, filter)?)
    }

    /// Writes the content of a volume as a tar.
    pub fn volume_export(&self, name: &str, out: &mut dyn Write) -> Result<(), Error> {
        Ok(container::export_volume(&self.store, name, out)?)
    }

    /// Unpacks a tar over what a volume holds.
    pub fn volume_import(&self, name: &str, source: &mut (dyn Read + Send)) -> Result<(), Error> {
        Ok(container::import_volume(&self.store, name, source)?)
    }
}
