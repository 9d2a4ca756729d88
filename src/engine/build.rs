//! Building.

use super::{Engine, Error};
use crate::build::{self, BuildRequest, BuildResult, Cancel};
use crate::progress::{Layer, Sink};
use crate::snapshot::{self, Contents, ContentsLimits};
use crate::store::SnapshotId;

impl Engine {
    /// Builds an image. Events go to `sink` on the way; `cancel` stops it from another thread.
    pub fn build(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<BuildResult, Error> {
        Ok(build::build(&self.store, request, sink, cancel)?)
    }

    /// What is in the layers that a step of a build made, top first: one, or as
    /// many as the image has that the step took. `limits` are for all of them.
    pub fn layer_contents(
        &self,
        layer: &Layer,
        limits: ContentsLimits,
    ) -> Result<Vec<Contents>, Error> {
        let stack = self.store.snapshot_stack(SnapshotId(layer.snapshot))?;
        let own = stack
            .iter()
            .take_while(|row| Some(row.id.0) != layer.parent)
            .collect::<Vec<_>>();
        let mut limits = limits;
        let mut found = Vec::new();
        for (index, row) in own.iter().enumerate() {
            let share = ContentsLimits {
                entries: limits.entries,
                told: limits.told / (own.len() - index),
            };
            let contents = snapshot::contents(&self.store, row.id, share)?;
            limits.entries = limits.entries.saturating_sub(contents.entries);
            limits.told -= share.told;
            found.push(contents);
        }
        Ok(found)
    }
}
