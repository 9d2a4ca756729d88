//! Images to the registries of their names.

use std::sync::Arc;

use super::image;
use super::{Built, Place};
use crate::build::bases;
use crate::build::output::Push;
use crate::build::{Error, ImageOutput};
use crate::image::{Bundle, Image};
use crate::oci::{Descriptor, Digest, Reference};
use crate::progress::Event;
use crate::registry::Client;
use crate::transfer::{self, LayerState, Origins, PushOptions, Watch};

/// Sends a bundle to the registry of each name, and returns what stands for it there.
pub(super) fn send(
    built: &[Built],
    output: &ImageOutput,
    push: Push,
    bundle: &Bundle,
    place: &Place<'_>,
) -> Result<Descriptor, Error> {
    let sending = Sending {
        built,
        push,
        options: PushOptions {
            form: image::form(&output.form),
            by_digest: push.by_digest,
        },
        bundle,
        place,
    };
    place.status("pushing layers");
    let mut sent = None;
    for name in names(output, push) {
        sent = Some(sending.to(name)?);
    }
    sent.ok_or_else(|| Error::Unsupported("tag is needed when pushing to registry".to_owned()))
}

/// The names to push to: without tags one for each repository.
fn names(output: &ImageOutput, push: Push) -> Vec<&Reference> {
    let mut names: Vec<&Reference> = Vec::new();
    for name in &output.names {
        let is_known = |other: &&Reference| other.repository() == name.repository();
        if !(push.by_digest && names.iter().any(is_known)) {
            names.push(name);
        }
    }
    names
}

struct Sending<'a> {
    built: &'a [Built],
    push: Push,
    options: PushOptions,
    bundle: &'a Bundle,
    place: &'a Place<'a>,
}

impl Sending<'_> {
    fn to(&self, name: &Reference) -> Result<Descriptor, Error> {
        let exporting = self.place.exporting;
        let client = self.client(name)?;
        let bases = self
            .built
            .iter()
            .filter_map(|built| built.graph.base.as_ref());
        let remotes = bases.filter_map(|base| base.remote.as_ref());
        let repositories: Vec<Reference> = remotes.map(|one| one.reference().clone()).collect();
        let origins = Origins {
            repositories: &repositories,
            bring: &|image| self.bring(image),
        };
        let watch = Told { place: self.place };
        let pushed = bases::until_canceled(exporting.cancel, &client, || {
            transfer::push_from(
                exporting.store,
                &client,
                (self.bundle, &origins),
                name,
                &self.options,
                &watch,
            )
        });
        let pushed = pushed.map_err(|err| self.failed(name, &err))?;
        let shown = if self.push.by_digest {
            name.with_digest(pushed.digest).to_string()
        } else {
            format!("{name}@{}", pushed.digest)
        };
        self.place.status(&format!("pushing manifest for {shown}"));
        let plain = Descriptor::new(&pushed.media_type, pushed.digest, pushed.size);
        let known = self.bundle.descriptor();
        Ok(Descriptor {
            platform: known.as_ref().and_then(|known| known.platform.clone()),
            annotations: known.map(|known| known.annotations).unwrap_or_default(),
            ..plain
        })
    }

    /// Brings the layers that an image has of the one that it was built on.
    fn bring(&self, image: &Image) -> Result<(), transfer::Error> {
        let images = self.bundle.images().iter().zip(self.built);
        let built = images.filter(|(own, _)| own.id == image.id);
        for base in built.filter_map(|(_, built)| built.graph.base.as_ref()) {
            self.place.exporting.bring_one(base, self.place.step)?;
        }
        Ok(())
    }

    fn client(&self, name: &Reference) -> Result<Arc<Client>, Error> {
        let access = self.place.exporting.request.registries.as_ref();
        let access = access.ok_or_else(|| {
            Error::Unsupported("there is no access to registries here".to_owned())
        })?;
        let client = if self.push.insecure {
            access.unverified(name.host())
        } else {
            access.client()
        };
        client.map_err(|err| self.failed(name, &err.into()))
    }

    fn failed(&self, name: &Reference, err: &transfer::Error) -> Error {
        if self.place.exporting.cancel.is_canceled() {
            return Error::Canceled;
        }
        Error::transfer(&format!("failed to push {name}"), err)
    }
}

/// Tells of layers on their way as transfers of the step.
struct Told<'a> {
    place: &'a Place<'a>,
}

impl Watch for Told<'_> {
    fn layer(&self, layer: Digest, state: LayerState) {
        let LayerState::Moving { done, total } = state else {
            return;
        };
        self.place.exporting.steps.sink.event(Event::Transfer {
            step: self.place.step,
            name: layer.to_string(),
            done,
            total,
        });
    }

    fn is_canceled(&self) -> bool {
        self.place.exporting.cancel.is_canceled()
    }
}
