//! A volume to a tar and back.

use std::io::{Read, Write};

use super::find_volume;
use crate::container::Error;
use crate::fs::At;
use crate::layer::{
    Limits, NoLower, PackOptions, UnpackError, UnpackOptions, decompress, pack_tree, unpack,
};
use crate::store::Store;

/// Writes the content of a volume as a tar with owners, modes and attributes.
/// What writes to the volume meanwhile should be stopped: a file that changes
/// while it is read is an error.
pub fn export_volume(store: &Store, name: &str, out: &mut dyn Write) -> Result<(), Error> {
    let volume = find_volume(store, name)?;
    pack_tree(&volume.mountpoint, PackOptions::default(), out)?;
    Ok(())
}

/// Unpacks a tar, compressed or not, over what a volume holds.
pub fn import_volume(
    store: &Store,
    name: &str,
    source: &mut (dyn Read + Send),
) -> Result<(), Error> {
    let volume = find_volume(store, name)?;
    let (_, mut plain) = decompress(source).at("read", "the archive")?;
    let how = UnpackOptions {
        limits: Limits::default(),
        // Names that mean a removal in a layer are names here.
        whiteouts: false,
    };
    match unpack(&mut plain, &volume.mountpoint, &NoLower, how) {
        Ok(_) => Ok(()),
        Err(UnpackError::File(error)) => Err(error.into()),
        Err(error) => Err(Error::Invalid(format!("the archive is damaged: {error}"))),
    }
}
