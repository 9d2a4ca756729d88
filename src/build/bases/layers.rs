//! The layers of an image that is on a registry, brought when they are needed.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::build::Cancel;
use crate::build::graph::BaseImage;
use crate::image::{self, Image};
use crate::oci::{Digest, Reference};
use crate::progress::{Event, Sink, StepId};
use crate::registry::Client;
use crate::store::Store;
use crate::transfer::{self, LayerState, Watch};

/// How often it is looked whether the user has stopped the build.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An image that is known from its registry and whose layers may not be here.
#[derive(Debug)]
pub(in crate::build) struct Remote {
    client: Arc<Client>,
    /// The name that led to it.
    reference: Reference,
    /// The names that it gets when it is here.
    names: Vec<Reference>,
    image: Image,
    /// Whether everything is here.
    is_whole: Mutex<bool>,
}

impl Remote {
    pub(super) fn new(
        client: Arc<Client>,
        reference: Reference,
        names: Vec<Reference>,
        image: Image,
    ) -> Self {
        Self {
            client,
            reference,
            names,
            image,
            is_whole: Mutex::new(false),
        }
    }

    /// The name that led to it.
    pub(in crate::build) fn reference(&self) -> &Reference {
        &self.reference
    }
}

/// The documents of an image; its layers may not be here.
pub(in crate::build) fn image_of(store: &Store, base: &BaseImage) -> Result<Image, image::Error> {
    match &base.remote {
        Some(remote) => Ok(remote.image.clone()),
        None => image::find(store, &base.id.to_string()),
    }
}

/// Makes sure that an image is here with all of its layers, unpacked. What has
/// to be downloaded is told as part of `step`.
pub(in crate::build) fn bring(
    store: &Store,
    base: &BaseImage,
    cancel: &Cancel,
    (sink, step): (&dyn Sink, StepId),
) -> Result<(), transfer::Error> {
    let Some(remote) = &base.remote else {
        return Ok(());
    };
    let mut is_whole = remote
        .is_whole
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if *is_whole {
        return Ok(());
    }
    let image = &remote.image;
    let watch = Told {
        sink,
        step,
        cancel,
        sizes: sizes(image),
    };
    until_canceled(cancel, &remote.client, || {
        transfer::bring(store, &remote.client, &remote.reference, image, &watch)
    })?;
    image::put(store, image, &remote.names)?;
    *is_whole = true;
    Ok(())
}

/// Does `work` with a client whose connections are cut when the user stops the build.
pub(in crate::build) fn until_canceled<T>(
    cancel: &Cancel,
    client: &Client,
    work: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(move || {
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if cancel.is_canceled() {
                    client.close();
                    return;
                }
            }
        });
        let done = work();
        drop(end);
        done
    })
}

fn sizes(image: &Image) -> BTreeMap<Digest, u64> {
    let layers = image.manifest.layers.iter();
    layers.map(|layer| (layer.digest, layer.size)).collect()
}

/// Tells of layers on their way as transfers of a step.
struct Told<'a> {
    sink: &'a dyn Sink,
    step: StepId,
    cancel: &'a Cancel,
    /// How many bytes each layer has.
    sizes: BTreeMap<Digest, u64>,
}

impl Watch for Told<'_> {
    fn layer(&self, layer: Digest, state: LayerState) {
        let whole = self.sizes.get(&layer).copied();
        let (done, total) = match state {
            LayerState::Moving { done, total } => (done, total.or(whole)),
            LayerState::Unpacking => (whole.unwrap_or(0), whole),
            LayerState::Waiting
            | LayerState::Done
            | LayerState::Exists
            | LayerState::Skipped
            | LayerState::Mounted(_) => return,
        };
        self.sink.event(Event::Transfer {
            step: self.step,
            name: layer.to_string(),
            done,
            total,
        });
    }

    fn is_canceled(&self) -> bool {
        self.cancel.is_stopped()
    }
}
