//! The configuration and the history of the image to be.

use jiff::Timestamp;

use crate::build::Error;
use crate::build::graph::Graph;
use crate::build::solve::Solved;
use crate::oci::{ChainId, History, ImageConfig};
use crate::store::{SnapshotId, Store};

/// What BuildKit signs its history with; tools look for it.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The configuration with its history. Without an `epoch` an image is as old as
/// its last layer, so that a build in which nothing changed gives the very same
/// image; with one, that is the moment of everything new.
pub(in crate::build) fn config(
    store: &Store,
    graph: &Graph,
    solved: &Solved,
    labels: &[(String, String)],
    epoch: Option<i64>,
) -> Result<ImageConfig, Error> {
    let mut config = graph.config.clone();
    for (name, value) in labels {
        config.config.labels.insert(name.clone(), value.clone());
    }
    let moment = epoch.map(rfc3339).transpose()?;
    config.history = history(store, graph, solved, moment.as_ref())?;
    config.created = moment.or_else(|| last_moment(&config));
    Ok(config)
}

/// A moment as documents have it.
fn rfc3339(seconds: i64) -> Result<String, Error> {
    let moment = Timestamp::from_second(seconds);
    moment
        .map(|moment| moment.to_string())
        .map_err(|_| Error::Unsupported(format!("invalid SOURCE_DATE_EPOCH: {seconds}")))
}

fn last_moment(config: &ImageConfig) -> Option<String> {
    let last = config
        .history
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    last.or_else(|| config.created.clone())
}

fn history(
    store: &Store,
    graph: &Graph,
    solved: &Solved,
    moment: Option<&String>,
) -> Result<Vec<History>, Error> {
    let mut entries = graph.base_history.clone();
    let mut last = entries.iter().rev().find_map(|entry| entry.created.clone());
    let mut below: Option<SnapshotId> = None;
    if let Some(base) = &graph.base {
        let chain = ChainId::of(&base.diff_ids);
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
            created: moment.cloned().or_else(|| last.clone()),
            created_by: Some(item.created_by.clone()),
            comment: Some(COMMENT.to_owned()),
            author: None,
            empty_layer: !grew,
        });
    }
    if last.is_none() && moment.is_none() {
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
