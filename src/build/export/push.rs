//! Images to the registries of their names.

use std::sync::Arc;

use super::image::{self, Documents};
use super::{Built, Place};
use crate::build::bases::{self, Remote};
use crate::build::output::Push;
use crate::build::{Error, ImageOutput};
use crate::image::{Bundle, Form, Image, Variant};
use crate::oci::{Digest, Reference};
use crate::progress::{Event, Sink, StepId};
use crate::registry::Client;
use crate::transfer::{self, LayerState, Publisher, Watch};

/// Sends the variants to each repository of the names, and returns them as they are there.
pub(super) fn send(
    documents: &Documents<'_>,
    output: &ImageOutput,
    push: Push,
    variants: Vec<Variant>,
    place: &Place<'_>,
) -> Result<Bundle, Error> {
    let repositories = by_repository(&output.names);
    if repositories.is_empty() {
        let message = "tag is needed when pushing to registry";
        return Err(Error::Unsupported(message.to_owned()));
    }
    let form = image::form(&output.form);
    let sending = Sending {
        built: documents.built(),
        push,
        form: &form,
        place,
    };
    let mut variants = variants;
    let plain: Vec<Image> = variants.iter().map(|one| one.image.clone()).collect();
    let mut bundle = None;
    place.status("pushing layers");
    for names in &repositories {
        let client = sending.client(&names[0])?;
        let sent = sending.layers(&client, &plain, &names[0])?;
        for (variant, image) in variants.iter_mut().zip(sent) {
            variant.image = image;
        }
        let whole = Documents::whole(variants.clone(), &output.form, output.names.clone())?;
        sending.documents(&client, &whole, names)?;
        bundle = Some(whole);
    }
    bundle.ok_or_else(|| Error::Unsupported("there is nothing to push".to_owned()))
}

/// The names of each repository, in their order.
fn by_repository(names: &[Reference]) -> Vec<Vec<Reference>> {
    let mut repositories: Vec<Vec<Reference>> = Vec::new();
    for name in names {
        let same = |own: &&mut Vec<Reference>| {
            own.iter()
                .any(|other| other.repository() == name.repository())
        };
        match repositories.iter_mut().find(same) {
            Some(own) => own.push(name.clone()),
            None => repositories.push(vec![name.clone()]),
        }
    }
    repositories
}

struct Sending<'a> {
    built: &'a [Built],
    push: Push,
    form: &'a Form,
    place: &'a Place<'a>,
}

impl Sending<'_> {
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

    fn remote(&self, number: usize) -> Option<&Remote> {
        let base = self.built[number].graph.base.as_ref()?;
        base.remote.as_deref()
    }

    fn with<T>(
        &self,
        client: &Client,
        work: impl FnOnce(&Publisher<'_>) -> Result<T, transfer::Error>,
    ) -> Result<T, transfer::Error> {
        let exporting = self.place.exporting;
        let watch = Told { place: self.place };
        let remotes = (0..self.built.len()).filter_map(|number| self.remote(number));
        let publisher = Publisher {
            store: exporting.store,
            client,
            form: self.form,
            watch: &watch,
            sources: remotes.map(|remote| remote.reference().clone()).collect(),
            bring: &|number| match &self.built[number].graph.base {
                Some(base) => exporting.bring_one(base, self.place.step),
                None => Ok(()),
            },
        };
        bases::until_canceled(exporting.cancel, client, || work(&publisher))
    }

    fn layers(
        &self,
        client: &Client,
        images: &[Image],
        to: &Reference,
    ) -> Result<Vec<Image>, Error> {
        let sent = self.with(client, |publisher| publisher.layers(images, to));
        sent.map_err(|err| self.failed(to, &err))
    }

    fn documents(&self, client: &Client, whole: &Bundle, names: &[Reference]) -> Result<(), Error> {
        let descriptor = whole.descriptor();
        let (digest, kind) = match &descriptor {
            Some(descriptor) => (descriptor.digest, descriptor.media_type.as_str()),
            None => return Ok(()),
        };
        for name in names {
            let text = if self.push.by_digest {
                name.with_digest(digest).to_string()
            } else {
                format!("{name}@{digest}")
            };
            self.place.status(&format!("pushing manifest for {text}"));
        }
        let index = whole.index_document().map(|(_, bytes)| (kind, bytes));
        let by_digest = self.push.by_digest;
        let sent = self.with(client, |publisher| {
            publisher.documents(whole.images(), index, names, by_digest)
        });
        sent.map_err(|err| self.failed(&names[0], &err))
    }
}

/// Tells of layers on their way as transfers of the step.
struct Told<'a> {
    place: &'a Place<'a>,
}

impl Told<'_> {
    fn sink(&self) -> (&dyn Sink, StepId) {
        (self.place.exporting.steps.sink, self.place.step)
    }
}

impl Watch for Told<'_> {
    fn layer(&self, layer: Digest, state: LayerState) {
        let LayerState::Moving { done, total } = state else {
            return;
        };
        let (sink, step) = self.sink();
        sink.event(Event::Transfer {
            step,
            name: layer.to_string(),
            done,
            total,
        });
    }

    fn is_canceled(&self) -> bool {
        self.place.exporting.cancel.is_canceled()
    }
}
