//! The solved target to an image: configuration, history, names.

use jiff::Timestamp;

use super::graph::Graph;
use super::solve::Solved;
use super::{BuildRequest, BuildResult, Error};
use crate::image::{self, NewImage};
use crate::oci::{History, ImageConfig};
use crate::store::{SnapshotId, Store};

/// What BuildKit signs its history with; tools look for it.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Makes the image and gives it its names.
pub(super) fn export(
    store: &Store,
    request: &BuildRequest,
    graph: &Graph,
    solved: &Solved,
) -> Result<BuildResult, Error> {
    let top = graph.target.and_then(|id| solved.result(id));
    let base = graph
        .base
        .as_ref()
        .map(|base| image::find(store, &base.id.to_string()))
        .transpose()?;
    let mut config = graph.config.clone();
    for (name, value) in &request.labels {
        config.config.labels.insert(name.clone(), value.clone());
    }
    config.history = history(store, graph, solved)?;
    config.created = created(&config);
    let new = NewImage {
        top,
        base,
        config,
        names: request.tags.clone(),
    };
    let image = image::assemble(store, new)?;
    Ok(BuildResult {
        image: image.id,
        names: request.tags.clone(),
    })
}

/// When the image was made: with its last layer, so that a build in which
/// nothing changed gives the very same image.
pub(super) fn created(config: &ImageConfig) -> Option<String> {
    let last = config
        .history
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    last.or_else(|| config.created.clone())
}

/// The history of a solved plan.
pub(super) fn history(
    store: &Store,
    graph: &Graph,
    solved: &Solved,
) -> Result<Vec<History>, Error> {
    let mut entries = graph.base_history.clone();
    let mut last = entries.iter().rev().find_map(|entry| entry.created.clone());
    let mut below: Option<SnapshotId> = None;
    if let Some(base) = &graph.base {
        let chain = crate::oci::ChainId::of(&base.diff_ids);
        let row = chain
            .map(|chain| store.snapshot_by_chain(chain))
            .transpose()?
            .flatten();
        below = row.map(|row| row.id);
    }
    let mut depth = depth_of(store, below)?;
    for item in &graph.history {
        let mut grew = false;
        if let Some(vertex) = item.vertex {
            let here = solved.result(vertex);
            let now = depth_of(store, here)?;
            grew = now > depth;
            if grew && let Some(row) = here.map(|id| store.snapshot_get(id)).transpose()?.flatten()
            {
                last = Timestamp::from_nanosecond(i128::from(row.created_at))
                    .ok()
                    .map(|time| time.to_string());
            }
            depth = now;
        }
        entries.push(History {
            created: last.clone(),
            created_by: Some(item.created_by.clone()),
            comment: Some(COMMENT.to_owned()),
            author: None,
            empty_layer: !grew,
        });
    }
    if last.is_none() {
        // Nothing in it has a time: only configuration on an empty tree.
        let now = Some(Timestamp::now().to_string());
        for entry in &mut entries {
            entry.created.clone_from(&now);
        }
    }
    Ok(entries)
}

fn depth_of(store: &Store, id: Option<SnapshotId>) -> Result<u32, Error> {
    let row = id.map(|id| store.snapshot_get(id)).transpose()?.flatten();
    Ok(row.map_or(0, |row| row.depth))
}
