//! The files of the result as a tar.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use super::Built;
use super::archive::{to_file, to_stream};
use super::tree::{Part, parts};
use crate::build::Error;
use crate::build::output::{FilesOutput, Target};
use crate::fs::At;
use crate::layer::{PackOptions, Packer};
use crate::store::Store;

/// Writes the tar.
pub(super) fn write(store: &Store, built: &[Built], output: &FilesOutput) -> Result<(), Error> {
    let parts = parts(store, built, output)?;
    let mut write = |out: &mut dyn Write| pack(&parts, out);
    match &output.target {
        Target::File(path) | Target::Directory(path) => to_file(path, &mut write),
        Target::Stream(stream) => to_stream(stream, &mut write),
    }
}

fn pack(parts: &[Part<'_>], out: &mut dyn Write) -> Result<(), Error> {
    let mut packer = Packer::new(out, PackOptions::default());
    let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
    for part in parts {
        part.walk(&mut |entry, file| {
            // Platforms that are not split share their directories.
            if entry.is_directory() && !directories.insert(entry.path.clone()) {
                return Ok(());
            }
            let added = match file {
                Some(mut file) => packer.entry(entry, &mut file),
                None => packer.entry(entry, &mut io::empty()),
            };
            Ok(added.at("pack", &entry.path)?)
        })?;
    }
    packer.finish().at("write", "the tar")?;
    Ok(())
}
