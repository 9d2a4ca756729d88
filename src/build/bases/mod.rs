//! The images that a build stands on: found in the store, or on their registries.
//!
//! In: names, each with a platform. Out: [`BaseImage`]s of which everything is
//! known but the bytes of the layers: those come when a step that runs or an
//! output needs them. What a name leads to on a registry is asked once a build, so
//! that all platforms are built from the same index.

mod ask;
mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::graph::BaseImage;
use super::plan::Images;
use super::request::PullPolicy;
use super::{BuildRequest, Cancel, Counter};
use crate::image::{self, Image};
use crate::oci::{Platform, Reference};
use crate::progress::Sink;
use crate::registry::{Access, Fetched};
use crate::store::Store;

pub(super) use layers::{Remote, bring, image_of, until_canceled};

/// How many names are asked for at once.
const AT_ONCE: usize = 8;

/// Why there is no image of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoImage {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl From<String> for NoImage {
    fn from(message: String) -> Self {
        Self {
            message,
            hint: None,
        }
    }
}

/// A name as it is written, and the platform that an image is wanted for.
type Key = (String, Platform);
/// What a name on a registry leads to, once that was asked.
type Named = Arc<OnceLock<Result<Fetched, NoImage>>>;

/// Finds images for one build.
pub(super) struct Bases<'a> {
    store: &'a Store,
    access: Option<&'a Access>,
    policy: PullPolicy,
    /// Whether several platforms are built for: progress then tells which.
    several: bool,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
    /// Numbers of steps.
    steps: &'a Counter,
    known: Mutex<BTreeMap<Key, Result<BaseImage, NoImage>>>,
    named: Mutex<BTreeMap<Reference, Named>>,
}

/// What the store has under a name.
enum Local {
    /// An image for the platform.
    Fits(Box<Image>),
    /// An image for another one.
    Other(Box<Image>),
    Nothing,
}

impl<'a> Bases<'a> {
    pub(super) fn new(
        store: &'a Store,
        request: &'a BuildRequest,
        sink: &'a dyn Sink,
        cancel: &'a Cancel,
        steps: &'a Counter,
    ) -> Self {
        Self {
            store,
            access: request.registries.as_ref(),
            policy: request.pull,
            several: request.platforms.len() > 1,
            sink,
            cancel,
            steps,
            known: Mutex::default(),
            named: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Result<BaseImage, NoImage>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of a name for a platform.
    pub(super) fn find(&self, text: &str, platform: &Platform) -> Result<BaseImage, NoImage> {
        let key = (text.to_owned(), platform.clone());
        if let Some(known) = self.known().get(&key) {
            return known.clone();
        }
        let found = self.look(text, platform);
        self.known().insert(key, found.clone());
        found
    }

    /// Finds the images that a plan asks for, several at the same time: `plan` is
    /// gone through with images of which nothing is known.
    pub(super) fn find_ahead(&self, plan: impl FnOnce(&mut Images<'_>)) {
        let mut wanted: BTreeSet<Key> = BTreeSet::new();
        plan(&mut |text, platform| {
            wanted.insert((text.to_owned(), platform.clone()));
            Ok(BaseImage::unknown(text))
        });
        wanted.retain(|key| !self.known().contains_key(key));
        let wanted: Vec<Key> = wanted.into_iter().collect();
        for part in wanted.chunks(AT_ONCE) {
            std::thread::scope(|scope| {
                for (text, platform) in part {
                    // What is wrong is told when the image is needed.
                    scope.spawn(|| drop(self.find(text, platform)));
                }
            });
        }
    }

    fn look(&self, text: &str, platform: &Platform) -> Result<BaseImage, NoImage> {
        let local = self.local(text, platform)?;
        let Some(reference) = self.to_ask(text, &local)? else {
            return match local {
                Local::Fits(image) | Local::Other(image) => Ok(self.stored(text, *image)),
                Local::Nothing => Err(NoImage::from(format!(
                    "{text}: not found in the local store"
                ))),
            };
        };
        let Some(access) = self.access.filter(|_| self.policy != PullPolicy::Never) else {
            return match local {
                Local::Other(image) => Ok(self.stored(text, *image)),
                _ => Err(absent(text, &reference)),
            };
        };
        self.ask(access, text, &reference, platform, local)
    }

    fn local(&self, text: &str, platform: &Platform) -> Result<Local, NoImage> {
        let image = match image::find_for(self.store, text, platform) {
            Ok(image) => Box::new(image),
            Err(image::Error::NotFound(_)) => return Ok(Local::Nothing),
            Err(image::Error::Reference(err)) => return Err(malformed(text, &err)),
            Err(other) => return Err(format!("{text}: {other}").into()),
        };
        let own = |text: &str, wanted: &str| text.is_empty() || text == wanted;
        let fits = own(&image.config.os, &platform.os)
            && own(&image.config.architecture, &platform.architecture);
        Ok(if fits {
            Local::Fits(image)
        } else {
            Local::Other(image)
        })
    }

    /// The name that a registry is to be asked for, where one is.
    fn to_ask(&self, text: &str, local: &Local) -> Result<Option<Reference>, NoImage> {
        let reference = match text.parse::<Reference>() {
            Ok(reference) => reference,
            // It is the ID of an image that is here, or not.
            Err(err) => match local {
                Local::Nothing => return Err(malformed(text, &err)),
                _ => return Ok(None),
            },
        };
        let is_named = self.store.name_get(&reference).is_ok_and(|id| id.is_some());
        let anew = matches!(self.policy, PullPolicy::Always | PullPolicy::Newer);
        Ok(match local {
            Local::Nothing => Some(reference),
            // What has an ID has no newer version.
            _ if !is_named => None,
            Local::Fits(_) => Some(reference).filter(|name| anew && name.digest().is_none()),
            Local::Other(_) => Some(reference),
        })
    }

    /// An image of the store, with the digest that its name has on its registry
    /// where that is known.
    fn stored(&self, text: &str, image: Image) -> BaseImage {
        let reference = match text.parse::<Reference>() {
            Ok(name) if name.digest().is_some() => name.to_string(),
            Ok(name) => match self.digests(&name, &image).first() {
                Some(known) => with_digest_of(&name, known),
                None => name.to_string(),
            },
            Err(_) => image.id.to_string(),
        };
        BaseImage {
            reference,
            id: image.id,
            diff_ids: image.config.rootfs.diff_ids.clone(),
            config: image.config,
            remote: None,
        }
    }

    /// The names by digest that an image has in a repository.
    fn digests(&self, name: &Reference, image: &Image) -> Vec<Reference> {
        let names = self.store.name_list().unwrap_or_default().into_iter();
        let own = names.filter(|(other, id)| {
            *id == image.id
                && other.digest().is_some()
                && (other.host(), other.path()) == (name.host(), name.path())
        });
        own.map(|(other, _)| other).collect()
    }
}

/// `name:tag@digest`.
fn with_digest_of(name: &Reference, other: &Reference) -> String {
    match other.digest() {
        Some(digest) => format!("{name}@{digest}"),
        None => name.to_string(),
    }
}

fn malformed(text: &str, err: &impl std::fmt::Display) -> NoImage {
    format!("failed to parse stage name {text:?}: {err}").into()
}

fn absent(text: &str, reference: &Reference) -> NoImage {
    NoImage {
        message: format!(
            "{text}: failed to resolve source metadata for {reference}: not found in the local store"
        ),
        hint: Some("`rbuild pull`, `load` or `import` it first".to_owned()),
    }
}
