//! Building.

use super::{Engine, Error};
use crate::build::{self, BuildRequest, BuildResult, Cancel, DebugRequest, Nobody, Visitor};
use crate::progress::Sink;

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
        Ok(build::build(&self.store, request, sink, cancel, visitor)?)
    }

    /// Builds what a step stands on and lets `visitor` into its sandbox.
    pub fn debug(
        &self,
        request: &DebugRequest,
        sink: &dyn Sink,
        cancel: &Cancel,
        visitor: &dyn Visitor,
    ) -> Result<(), Error> {
        Ok(build::debug(&self.store, request, sink, cancel, visitor)?)
    }
}
