//! Questions about a Dockerfile that need no build.

use super::{Engine, Error};
use crate::build::{self, BuildRequest, Checked};

impl Engine {
    /// Looks at the Dockerfile of a request as a build would, with the build
    /// checks, and builds nothing.
    ///
    /// # Errors
    /// When there is no Dockerfile, or it cannot be parsed, or the options of
    /// the checks cannot be read. Other errors are a part of the result.
    pub fn check(&self, request: &BuildRequest) -> Result<Checked, Error> {
        Ok(build::check(&self.store, &self.equipped(request))?)
    }
}
