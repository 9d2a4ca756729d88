//! Building.

use std::path::PathBuf;

use super::{Engine, Error};
use crate::build::{
    self, BuildRequest, BuildResult, Cancel, ContextAnswer, ContextListing, DebugRequest, Nobody,
    Visitor,
};
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
}
