//! `--squash`: the new layers as one, those of the base image kept.
//!
//! Source: moby, daemon/images/image_squash.go.

use jiff::Timestamp;

use super::super::Error;
use crate::image::{self, Form, NewImage};
use crate::oci::{CacheKey, ChainId, DiffId, Hasher, History};
use crate::snapshot;
use crate::store::{CacheRecord, KeyPart, SnapshotId, Store};

/// The same image with one layer for all new ones. Its history tells the
/// instructions as having made nothing, and at the end of the merge.
pub(super) fn squash(
    store: &Store,
    mut new: NewImage,
    epoch: Option<i64>,
) -> Result<NewImage, Error> {
    let Some(top) = new.top else {
        return Ok(new);
    };
    let whole = image::make(store, &new, &Form::default())?;
    let diff_ids = &whole.config.rootfs.diff_ids;
    let shared = shared_layers(&new, diff_ids);
    if diff_ids.len() == shared {
        return Ok(new);
    }
    let mut stack = store.snapshot_stack(top)?;
    stack.reverse();
    let (below, above) = stack.split_at(shared);
    let base = below.last().map(|row| row.id);
    let above: Vec<SnapshotId> = above.iter().map(|row| row.id).collect();
    let merged = merged(store, base, &above, diff_ids)?;

    let base_history = new
        .base
        .as_ref()
        .map_or(0, |base| base.config.history.len());
    for entry in new.config.history.iter_mut().skip(base_history) {
        entry.empty_layer = true;
    }
    let created = match epoch {
        Some(_) => new.config.created.clone(),
        None => store
            .snapshot_get(merged)?
            .and_then(|row| Timestamp::from_nanosecond(row.created_at.into()).ok())
            .map(|moment| moment.to_string()),
    };
    let comment = match &new.base {
        Some(base) => format!("merge {} to {}", whole.id, base.id),
        None => format!("create new from {}", whole.id),
    };
    new.config.history.push(History {
        created: created.clone(),
        comment: Some(comment),
        ..History::default()
    });
    new.config.created = created;
    new.top = Some(merged);
    Ok(new)
}

fn shared_layers(new: &NewImage, diff_ids: &[DiffId]) -> usize {
    let base = new.base.as_ref();
    let base = base.map_or(&[][..], |base| &base.config.rootfs.diff_ids);
    let pairs = base.iter().zip(diff_ids);
    pairs.take_while(|(base, ours)| base == ours).count()
}

/// The merged layer: made once for one stack, and found again.
fn merged(
    store: &Store,
    base: Option<SnapshotId>,
    above: &[SnapshotId],
    diff_ids: &[DiffId],
) -> Result<SnapshotId, Error> {
    let mut hasher = Hasher::new();
    hasher.part(b"rbuild squash 1");
    for chain in [
        ChainId::of(&diff_ids[..diff_ids.len() - above.len()]),
        ChainId::of(diff_ids),
    ] {
        hasher.part(
            chain
                .map(|chain| chain.0.to_string())
                .unwrap_or_default()
                .as_bytes(),
        );
    }
    let key = hasher.finish();
    let known = store.cache_get(CacheKey(key))?;
    if let Some(id) = known.and_then(|record| record.result)
        && store.pin(id)?
    {
        return Ok(id);
    }
    let id = snapshot::squash(store, base, above)?;
    store.cache_put(&CacheRecord {
        key: CacheKey(key),
        line: key,
        result: Some(id),
        parent: None,
        description: "squashed layers".to_owned(),
        parts: vec![KeyPart {
            name: "squash".to_owned(),
            value: format!("{} layers", above.len()),
        }],
    })?;
    Ok(id)
}
