//! What a registry says of a name.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::layers::{Remote, until_canceled};
use super::{Bases, Local, NoImage, with_digest_of};
use crate::build::graph::BaseImage;
use crate::build::remote_cache::causes;
use crate::build::request::PullPolicy;
use crate::image::Image;
use crate::oci::{Platform, Reference};
use crate::progress::{Event, Outcome};
use crate::registry::{Access, Client, Fetched};
use crate::transfer;

impl Bases<'_> {
    /// Asks the registry, and falls back to what is here where that is allowed.
    pub(super) fn ask(
        &self,
        access: &Access,
        text: &str,
        reference: &Reference,
        platform: &Platform,
        local: Local,
    ) -> Result<BaseImage, NoImage> {
        let internal = if self.several {
            format!("{platform} internal")
        } else {
            "internal".to_owned()
        };
        let (step, began) = (self.steps.one(), Instant::now());
        self.sink.event(Event::Started {
            step,
            name: format!("[{internal}] load metadata for {reference}"),
            inputs: Vec::new(),
            line: None,
        });
        let found = access.client().map_err(|err| refused(&err.into()));
        let found = found.and_then(|client| {
            until_canceled(self.cancel, &client, || {
                self.resolve(&client, reference, platform, &local)
            })
        });
        let message = |why: &NoImage| {
            let why = &why.message;
            format!("failed to resolve source metadata for {reference}: {why}")
        };
        let found = match (found, local) {
            (Ok(found), local) => Ok((found, local)),
            (Err(why), local) => match self.instead(reference, platform, local, &why) {
                Some(image) => Ok((None, Local::Fits(image))),
                None => Err(NoImage {
                    message: format!("{text}: {}", message(&why)),
                    hint: why.hint.clone(),
                }),
            },
        };
        let outcome = match &found {
            Ok(_) => Outcome::Done,
            Err(_) if self.cancel.is_canceled() => Outcome::Canceled,
            Err(why) => Outcome::Failed(why.message.clone()),
        };
        self.sink.event(Event::Finished {
            step,
            outcome,
            took: began.elapsed(),
            layer: None,
            usage: None,
        });
        match found? {
            (Some(remote), _) => Ok(remote),
            (None, Local::Fits(image) | Local::Other(image)) => Ok(self.stored(text, *image)),
            (None, Local::Nothing) => Err(super::absent(text, reference)),
        }
    }

    /// The image that is taken when a registry does not have a better one.
    fn instead(
        &self,
        reference: &Reference,
        platform: &Platform,
        local: Local,
        why: &NoImage,
    ) -> Option<Box<Image>> {
        let name = reference.familiar();
        let (image, text) = match local {
            Local::Fits(image) if self.policy == PullPolicy::Newer => {
                let text = format!("cannot look for a newer {name}: {}", why.message);
                (image, text)
            }
            Local::Other(image) if self.policy != PullPolicy::Always => {
                let own = format!("{}/{}", image.config.os, image.config.architecture);
                let text = format!(
                    "{name} is taken as it is here, for {own}; it was not found for {platform}: {}",
                    why.message
                );
                (image, text)
            }
            _ => return None,
        };
        self.sink.event(Event::Warning(text));
        Some(image)
    }

    /// What the registry has; nothing where that is what is here.
    fn resolve(
        &self,
        client: &Arc<Client>,
        reference: &Reference,
        platform: &Platform,
        local: &Local,
    ) -> Result<Option<BaseImage>, NoImage> {
        if let Local::Fits(image) = local {
            let known = self.digests(reference, image);
            // Where asking is not worth an answer, the manifest itself says more.
            let now = client.find_manifest(reference).ok().flatten();
            let now = now.and_then(|found| found.digest);
            if now.is_some() && known.iter().any(|name| name.digest() == now) {
                return Ok(None);
            }
        }
        let named = self.named(client, reference)?;
        let digest = named.digest;
        let image = transfer::resolve(self.store, client, reference, named, platform);
        let image = image.map_err(|err| refused(&err))?;
        let mut names = Vec::new();
        if *platform == Platform::host() {
            names.extend(Some(reference.clone()).filter(|name| name.digest().is_none()));
            names.push(reference.with_digest(digest));
        } else {
            // The name stands for this machine's image.
            names.push(reference.with_digest(image.manifest_digest));
        }
        let shown = match reference.digest() {
            Some(_) => reference.to_string(),
            None => with_digest_of(reference, &reference.with_digest(digest)),
        };
        let mut base = BaseImage {
            reference: shown,
            id: image.id,
            diff_ids: image.config.rootfs.diff_ids.clone(),
            config: image.config.clone(),
            remote: None,
        };
        let row = self
            .store
            .image_get(image.id)
            .map_err(|err| unreadable(&err))?;
        if row.is_some_and(|row| row.manifest_digest == image.manifest_digest) {
            // It is here; the name may have led elsewhere, or nowhere.
            let row = image.to_row();
            self.store
                .image_put_named(&row, &names)
                .map_err(|err| unreadable(&err))?;
        } else {
            let remote = Remote::new(Arc::clone(client), reference.clone(), names, image);
            base.remote = Some(Arc::new(remote));
        }
        Ok(Some(base))
    }

    /// What a name leads to, asked once.
    fn named(&self, client: &Client, reference: &Reference) -> Result<Fetched, NoImage> {
        let cell = {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(named.entry(reference.clone()).or_default())
        };
        let fetched = cell.get_or_init(|| {
            let fetched = client.manifest(reference);
            fetched.map_err(|err| refused(&err.into()))
        });
        fetched.clone()
    }
}

fn unreadable(err: &crate::store::Error) -> NoImage {
    causes(err).into()
}

/// An error of a registry as one line, with what to do.
fn refused(err: &transfer::Error) -> NoImage {
    NoImage {
        message: causes(err),
        hint: err.hint().map(str::to_owned),
    }
}
