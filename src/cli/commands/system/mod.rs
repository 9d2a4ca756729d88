//! `system df`, `system prune`, `image prune`, `container prune`, `info`

mod df;
mod info;
mod prune;

pub(crate) use df::{DfArgs, df};
pub(crate) use info::{InfoArgs, info};
pub(crate) use prune::{
    ImagePruneArgs, PruneArgs, SystemPruneArgs, prune_containers, prune_images, prune_system, total,
};
