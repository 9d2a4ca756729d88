//! Solved targets to where the result goes: the store, archives, files.

mod archive;
pub(super) mod config;
mod directory;
mod image;
mod push;
mod squash;
mod tar;
mod tree;

pub(super) use image::Documents;

use super::bases;
use super::counter::Counter;
use super::graph::{BaseImage, Graph};
use super::output::{Output, Target};
use super::solve::Solved;
use super::{BuildRequest, BuildResult, Cancel, Error, ImageOutput, Steps};
use crate::oci::Platform;
use crate::progress::{Event, StepId};
use crate::store::Store;
use crate::transfer;

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
}

/// What brings results to their outputs.
#[derive(Clone, Copy)]
pub(super) struct Exporting<'a> {
    pub(super) store: &'a Store,
    pub(super) request: &'a BuildRequest,
    pub(super) steps: &'a Steps<'a>,
    /// Numbers of steps.
    pub(super) numbers: &'a Counter,
    pub(super) cancel: &'a Cancel,
}

impl Exporting<'_> {
    /// Brings what was built to every output that was asked for.
    pub(super) fn run(&self, built: &[Built]) -> Result<BuildResult, Error> {
        let Self {
            store,
            request,
            steps,
            ..
        } = *self;
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
            let number = self.numbers.one();
            let inputs = built.iter().filter_map(|built| built.target).collect();
            steps.timed_after(number.0, name, inputs, || match output {
                Output::Image(output) => {
                    let place = Place {
                        exporting: self,
                        step: number,
                    };
                    image::put(&mut documents, output, &place, &mut result)
                }
                Output::Archive(output) => {
                    self.bring(built, number)?;
                    archive::write(&mut documents, output, &mut result)
                }
                Output::Files(output) => match &output.target {
                    Target::Directory(path) => directory::write(store, built, output, path),
                    Target::File(_) | Target::Stream(_) => tar::write(store, built, output),
                },
                Output::Nothing => Ok(()),
            })?;
        }
        Ok(result)
    }

    /// Brings the layers here of the images that the results stand on.
    fn bring(&self, built: &[Built], step: StepId) -> Result<(), Error> {
        for base in built.iter().filter_map(|built| built.graph.base.as_ref()) {
            self.bring_one(base, step)
                .map_err(|err| self.missing(base, &err))?;
        }
        Ok(())
    }

    fn bring_one(&self, base: &BaseImage, step: StepId) -> Result<(), transfer::Error> {
        bases::bring(self.store, base, self.cancel, (self.steps.sink, step))
    }

    fn missing(&self, base: &BaseImage, err: &transfer::Error) -> Error {
        if self.cancel.is_canceled() {
            return Error::Canceled;
        }
        Error::transfer(&format!("failed to pull {}", base.reference), err)
    }
}

/// Where an output is made, for progress.
struct Place<'a> {
    exporting: &'a Exporting<'a>,
    step: StepId,
}

impl Place<'_> {
    /// Tells what is being done now, in BuildKit's words.
    fn status(&self, text: &str) {
        self.exporting.steps.sink.event(Event::Transfer {
            step: self.step,
            name: text.to_owned(),
            done: 0,
            total: None,
        });
    }
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
