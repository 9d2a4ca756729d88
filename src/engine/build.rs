//! Building.

use super::{Engine, Error};
use crate::build::{self, BuildRequest, BuildResult, Cancel};
use crate::progress::Sink;

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
}
