//! A root file system to an image of one layer.

use std::io::Read;

use crate::image::{Error, NewImage, assemble};
use crate::layer::{Limits, NoLower, PackOptions, UnpackOptions, decompress, pack_tree, unpack};
use crate::oci::{History, ImageConfig, ImageId, Platform, Reference};
use crate::snapshot::{Active, tree_bytes};
use crate::store::Store;

/// What `import` adds to the tree.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The configuration to start from (`--change` is applied by the caller).
    pub config: ImageConfig,
    /// The history comment (`--message`).
    pub message: Option<String>,
    /// The name to give.
    pub name: Option<Reference>,
}

/// Makes an image of one layer from a tar of a root file system, compressed or not.
///
/// The layer is the canonical tar of the tree, not the tar that came: that one
/// need not be kept then.
pub fn import(
    store: &Store,
    source: &mut (dyn Read + Send),
    options: ImportOptions,
) -> Result<ImageId, Error> {
    let active = Active::begin(store, None)?;
    let (_, mut plain) =
        decompress(source).map_err(|err| Error::Archive(format!("it is damaged: {err}")))?;
    let how = UnpackOptions {
        limits: Limits::default(),
        // A name that means a removal would mean it again in the layer's tar.
        whiteouts: true,
    };
    unpack(&mut plain, &active.fs(), &NoLower, how)?;
    let packed = pack_tree(&active.fs(), PackOptions::default(), std::io::sink())?;
    let bytes = tree_bytes(&active.fs())?;
    let row = active
        .commit(bytes, Some((packed.diff_id, packed.size)), None)
        .map_err(Error::Snapshot)?;

    let now = format!("{:.9}", jiff::Timestamp::now());
    let mut config = options.config;
    let host = Platform::host();
    if config.architecture.is_empty() {
        config.architecture = host.architecture;
        config.variant = host.variant;
    }
    if config.os.is_empty() {
        config.os = host.os;
    }
    config.created = Some(now.clone());
    config.history.push(History {
        created: Some(now),
        comment: options.message.or(Some("Imported from -".to_owned())),
        ..History::default()
    });
    let image = assemble(
        store,
        &NewImage {
            top: Some(row.id),
            base: None,
            config,
            names: options.name.into_iter().collect(),
        },
    )?;
    Ok(image.id)
}
