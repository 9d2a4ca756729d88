//! Solved targets to where the result goes: the store, archives, files.

mod archive;
pub(super) mod config;
mod directory;
mod image;
mod squash;
mod tar;
mod tree;

pub(super) use image::Documents;

use super::graph::Graph;
use super::output::{Output, Target};
use super::remote_cache::Embedded;
use super::solve::Solved;
use super::{BuildRequest, BuildResult, Error, ImageOutput, Steps};
use crate::oci::Platform;
use crate::progress::StepId;
use crate::store::Store;

/// What was built for one platform.
pub(super) struct Built {
    /// The platform.
    pub(super) platform: Platform,
    /// The step with the target's tree, for progress.
    pub(super) target: Option<StepId>,
    /// What was to be built.
    pub(super) graph: Graph,
    /// What came of it.
    pub(super) solved: Solved,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    /// The cache that the image takes with it.
    pub(super) embedded: Embedded,
}

/// Brings what was built to every output that was asked for. Progress is told in
/// steps from `number` on.
pub(super) fn export(
    store: &Store,
    request: &BuildRequest,
    built: &[Built],
    steps: &Steps<'_>,
    mut number: u32,
) -> Result<BuildResult, Error> {
    let default = [Output::Image(ImageOutput::new(request.tags.clone()))];
    let outputs = match request.outputs.as_slice() {
        [] => &default,
        outputs => outputs,
    };
    let mut documents = Documents::new(store, request, built);
    let mut result = BuildResult::default();
    for output in outputs {
        let Some(name) = title(output) else {
            continue;
        };
        let inputs = built.iter().filter_map(|built| built.target).collect();
        steps.timed_after(number, name, inputs, || match output {
            Output::Image(output) => image::put(&mut documents, output, &mut result),
            Output::Archive(output) => archive::write(&mut documents, output, &mut result),
            Output::Files(output) => match &output.target {
                Target::Directory(path) => directory::write(store, built, output, path),
                Target::File(_) | Target::Stream(_) => tar::write(store, built, output),
            },
            Output::Nothing => Ok(()),
        })?;
        number += 1;
    }
    Ok(result)
}

/// The line of progress, in BuildKit's words.
fn title(output: &Output) -> Option<&'static str> {
    Some(match output {
        Output::Image(_) => "exporting to image",
        Output::Archive(output) if output.docker => "exporting to docker image format",
        Output::Archive(_) => "exporting to oci image format",
        Output::Files(output) => match output.target {
            Target::Directory(_) => "exporting to client directory",
            Target::File(_) | Target::Stream(_) => "exporting to client tarball",
        },
        Output::Nothing => return None,
    })
}
