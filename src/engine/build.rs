//! Building.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Engine, Error};
use crate::build::{
    self, BuildRequest, BuildResult, Cancel, ContextAnswer, ContextListing, DebugRequest, Nobody,
    Visitor,
};
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
        self.build_visited(request, sink, cancel, &Nobody)
    }

    /// The same, with somebody who is let into the sandbox of a step that failed
    /// ([`build::OnError::Shell`]).
    pub fn build_visited(
        &self,
        request: &BuildRequest,
        sink: &dyn Sink,
        cancel: &Cancel,
        visitor: &dyn Visitor,
    ) -> Result<BuildResult, Error> {
        let request = self.equipped(request);
        Ok(build::build(&self.store, &request, sink, cancel, visitor)?)
    }

    /// The request with what the user's settings add to it.
    pub(super) fn equipped<'a>(&self, request: &'a BuildRequest) -> Cow<'a, BuildRequest> {
        let mut request = Cow::Borrowed(request);
        if request.registries.is_none() {
            request.to_mut().registries = Some(self.registry_access());
        }
        request
    }

    /// Builds what a step stands on and lets `visitor` into its sandbox.
    pub fn debug(
        &self,
        request: &DebugRequest,
        sink: &dyn Sink,
        cancel: &Cancel,
        visitor: &dyn Visitor,
    ) -> Result<(), Error> {
        let request = DebugRequest {
            build: self.equipped(&request.build).into_owned(),
            ..request.clone()
        };
        Ok(build::debug(&self.store, &request, sink, cancel, visitor)?)
    }

    /// Lists the context of a build.
    pub fn context(&self, request: &BuildRequest) -> Result<ContextListing, Error> {
        Ok(build::list_context(&self.store, request)?)
    }

    /// Says of each path whether the context has it, and why.
    pub fn context_explained(
        &self,
        request: &BuildRequest,
        paths: &[PathBuf],
    ) -> Result<Vec<ContextAnswer>, Error> {
        Ok(build::explain_context(&self.store, request, paths)?)
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
