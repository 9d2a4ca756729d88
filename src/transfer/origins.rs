//! Where layers come from that are pushed and may not be here.

use super::Error;
use crate::image::Image;
use crate::oci::Reference;

/// Where the layers are of images that are known from registries: a push takes
/// them over from there where the registry is the same, and asks for their bytes
/// only when they have to be sent.
#[derive(Clone, Copy)]
pub struct Origins<'a> {
    /// Repositories that have layers of the images.
    pub repositories: &'a [Reference],
    /// Brings the layers of an image into the store that are missing there.
    pub bring: &'a (dyn Fn(&Image) -> Result<(), Error> + Sync),
}

impl Origins<'_> {
    /// Everything is in the store.
    pub const STORE: Origins<'static> = Origins {
        repositories: &[],
        bring: &|_| Ok(()),
    };
}

impl std::fmt::Debug for Origins<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origins")
            .field("repositories", &self.repositories)
            .finish_non_exhaustive()
    }
}
