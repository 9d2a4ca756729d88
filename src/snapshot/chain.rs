//! Layers to a chain of snapshots, unpacking what is missing.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{Active, Error, View, layer_dir, pipe, tree_bytes};
use crate::fs::{At as _, Lock};
use crate::layer::{Limits, Lower, UnpackError, UnpackOptions, Unpacked, decompress, unpack};
use crate::oci::{ChainId, DiffId};
use crate::store::{SnapshotId, Store};

/// Why an image's layers cannot become a tree.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A layer's tar is not what the image's configuration promises.
    #[error("layer {index} is damaged: its content hashes to `{got}`, the image says `{want}`")]
    WrongDiffId {
        /// Which layer, from 0 at the bottom.
        index: usize,
        /// What the configuration says.
        want: DiffId,
        /// What it is.
        got: DiffId,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {index}")]
    Unpack {
        /// Which layer, from 0 at the bottom.
        index: usize,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] Error),
}

/// Opens the tar of the layer with this index, compressed or not.
pub(super) type OpenLayer<'a, E> = &'a mut dyn FnMut(usize) -> Result<Box<dyn Read + Send>, E>;

/// Makes sure that every layer of the stack `diff_ids` (bottom first) is a
/// snapshot, and returns the top; `None` for no layers. `open` gives the tar of
/// layer `index`, compressed or not. Two processes that need the same chain
/// unpack it once (a lock per chain ID). The result is pinned.
pub fn ensure_chain<E: From<ChainError>>(
    store: &Store,
    diff_ids: &[DiffId],
    open: OpenLayer<'_, E>,
) -> Result<Option<SnapshotId>, E> {
    let failed = |err: Error| E::from(ChainError::Snapshot(err));
    let chains: Vec<ChainId> = chain_ids(diff_ids).collect();
    let (mut top, mut next) = (None, 0);
    for (index, chain) in chains.iter().enumerate().rev() {
        if let Some(id) = find(store, *chain).map_err(failed)? {
            (top, next) = (Some(id), index + 1);
            break;
        }
    }
    for index in next..chains.len() {
        top = Some(ensure_layer(
            store,
            top,
            chains[index],
            diff_ids[index],
            index,
            open,
        )?);
    }
    Ok(top)
}

/// The chain ID of every prefix of the stack.
fn chain_ids(diff_ids: &[DiffId]) -> impl Iterator<Item = ChainId> {
    diff_ids
        .iter()
        .scan(None, |below: &mut Option<ChainId>, diff| {
            *below = Some(match *below {
                Some(chain) => chain.push(*diff),
                None => ChainId::base(*diff),
            });
            *below
        })
}

/// The snapshot of this chain, pinned, if its tree is there.
fn find(store: &Store, chain: ChainId) -> Result<Option<SnapshotId>, Error> {
    let Some(row) = store.snapshot_by_chain(chain)? else {
        return Ok(None);
    };
    // The collector may have taken it before it was pinned.
    let there = layer_dir(store, row.id).is_dir() && store.pin(row.id)?;
    Ok(there.then_some(row.id))
}

fn ensure_layer<E: From<ChainError>>(
    store: &Store,
    parent: Option<SnapshotId>,
    chain: ChainId,
    want: DiffId,
    index: usize,
    open: OpenLayer<'_, E>,
) -> Result<SnapshotId, E> {
    let lock = store
        .paths()
        .locks()
        .join(format!("chain-{}", chain.0.hex()));
    let _lock = Lock::exclusive(&lock).map_err(|err| ChainError::Snapshot(err.into()))?;
    if let Some(id) = find(store, chain).map_err(ChainError::Snapshot)? {
        return Ok(id);
    }
    let source = open(index)?;
    let (active, unpacked) = unpack_layer(store, parent, want, index, source)?;
    Ok(finish(active, chain, want, unpacked.size).map_err(ChainError::Snapshot)?)
}

fn unpack_layer(
    store: &Store,
    parent: Option<SnapshotId>,
    want: DiffId,
    index: usize,
    source: Box<dyn Read + Send>,
) -> Result<(Active<'_>, Unpacked), ChainError> {
    let active = Active::begin(store, parent)?;
    let lower = View::open(store, parent)?;
    let options = UnpackOptions {
        limits: Limits::default(),
        whiteouts: true,
    };
    let unpacked = unpack_ahead(source, &active.fs(), &lower, options)
        .map_err(|source| ChainError::Unpack { index, source })?;
    if unpacked.diff_id != want {
        let got = unpacked.diff_id;
        return Err(ChainError::WrongDiffId { index, want, got });
    }
    Ok((active, unpacked))
}

/// Unpacks a tar, compressed or not, into the directory `target`.
///
/// Decompression runs a little ahead on a thread of its own. The thread ends
/// with its source, or when the reading end is dropped.
pub(crate) fn unpack_ahead(
    source: impl Read + Send,
    target: &Path,
    lower: &dyn Lower,
    options: UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    std::thread::scope(|scope| {
        let (mut writer, mut reader) = pipe();
        scope.spawn(move || {
            let copied =
                decompress(source).and_then(|(_, mut plain)| io::copy(&mut plain, &mut writer));
            if let Err(err) = copied {
                writer.fail(err);
            }
        });
        unpack(&mut reader, target, lower, options)
    })
}

/// Makes the unpacked layer the snapshot of its chain, pinned.
fn finish(
    active: Active<'_>,
    chain: ChainId,
    diff_id: DiffId,
    tar_size: u64,
) -> Result<SnapshotId, Error> {
    let store = active.store();
    // A snapshot whose tree was lost gets it back: others may lie on it.
    if let Some(row) = store.snapshot_by_chain(chain)?
        && store.pin(row.id)?
    {
        let dir = layer_dir(store, row.layer.unwrap_or(row.id));
        let above = dir.parent().unwrap_or(&dir);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(above)
            .at("create", above)?;
        std::fs::rename(active.fs(), &dir).at("rename a directory to", &dir)?;
        return Ok(row.id);
    }
    let bytes = tree_bytes(&active.fs())?;
    let row = active.commit(bytes, Some((diff_id, tar_size)), None)?;
    store.pin(row.id)?;
    Ok(row.id)
}
