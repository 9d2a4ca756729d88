//! Verbs on images.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use jiff::Timestamp;

use super::{Engine, Error};
use crate::container;
use crate::image::{
    self, Bundle, Image, ImageUse, ImportOptions, Layout, Loaded, Removed, Variant,
};
use crate::oci::{ChainId, History, ImageConfig, ImageId, Platform, Reference};
use crate::snapshot;
use crate::store::SnapshotId;

/// An image as a listing shows it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The image.
    pub image: Image,
    /// The names that passed the filter, as familiar references.
    pub names: Vec<String>,
    /// When it was made; absent when its configuration does not say.
    pub created: Option<Timestamp>,
    /// Bytes of its layers, unpacked where they are unpacked.
    pub bytes: u64,
}

/// Which images are wanted. Conditions of one kind are alternatives, kinds add up.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Patterns of names, as `repository` or `repository:tag`, with `*`, `?` and `[a-z]`.
    pub references: Vec<String>,
    /// Only those without a name, or only those with one.
    pub dangling: Option<bool>,
    /// Labels that all must be there, with their value where one is given.
    pub labels: Vec<(String, Option<String>)>,
    /// Labels of which none may be there.
    pub without_labels: Vec<(String, Option<String>)>,
    /// Made before this image.
    pub before: Option<String>,
    /// Made after this image.
    pub since: Option<String>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// An image with all that `inspect` tells of it.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// The image.
    pub image: Image,
    /// Its names.
    pub names: Vec<Reference>,
    /// Bytes of its layers.
    pub bytes: u64,
    /// When it came into this store.
    pub stored: Option<Timestamp>,
    /// The directories of its layers, top first; empty when they are not unpacked.
    pub layer_dirs: Vec<PathBuf>,
}

/// One instruction of an image's history.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// The image, for the newest entry alone.
    pub image: Option<ImageId>,
    /// What the configuration tells of it.
    pub history: History,
    /// Bytes of the layer that it made.
    pub bytes: u64,
}

/// How `rmi` goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Remove also what has several names or belongs to a stopped container.
    pub force: bool,
    /// Leave layers that nothing reaches any more.
    pub keep_layers: bool,
}

/// What a prune removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// What is gone.
    pub removed: Vec<Removed>,
    /// Bytes freed.
    pub bytes: u64,
}

impl Engine {
    /// The images that `filter` lets through, newest first.
    pub fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageSummary>, Error> {
        let made = |text: &Option<String>| -> Result<Option<Timestamp>, Error> {
            match text {
                Some(text) => Ok(Some(created(&self.image(text)?.config).unwrap_or_default())),
                None => Ok(None),
            }
        };
        let (before, since) = (made(&filter.before)?, made(&filter.since)?);
        let mut summaries = Vec::new();
        for (image, mut names) in image::find_all(&self.store)? {
            let created = created(&image.config);
            let moment = created.unwrap_or_default();
            let wanted = filter.dangling.is_none_or(|d| d == names.is_empty())
                && before.is_none_or(|before| moment < before)
                && since.is_none_or(|since| moment > since)
                && filter.until.is_none_or(|until| moment < until)
                && has_labels(&image.config.config.labels, &filter.labels)
                && !filter.without_labels.iter().any(|label| {
                    has_labels(&image.config.config.labels, std::slice::from_ref(label))
                });
            if !wanted {
                continue;
            }
            if !filter.references.is_empty() {
                names.retain(|name| filter.references.iter().any(|p| name_matches(p, name)));
                if names.is_empty() {
                    continue;
                }
            }
            summaries.push(ImageSummary {
                bytes: sum(&self.layers(&image)?),
                created,
                names,
                image,
            });
        }
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        Ok(summaries)
    }

    /// Finds an image by name, ID or unique part of an ID.
    pub fn image(&self, text: &str) -> Result<Image, Error> {
        Ok(image::find(&self.store, text)?)
    }

    /// Finds an image; with `platform` the one for it, where there is one.
    pub fn image_of(&self, text: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        match platform {
            Some(platform) => Ok(image::find_exactly(&self.store, text, platform)?),
            None => self.image(text),
        }
    }

    /// All that is known of an image, or of the one for a platform.
    pub fn image_details(
        &self,
        text: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageDetails, Error> {
        let image = self.image_of(text, platform)?;
        let layers = self.layers(&image)?;
        let dirs = layers.iter().rev().map(|layer| {
            let id = layer.snapshot?;
            Some(snapshot::layer_dir(&self.store, id))
        });
        let layer_dirs = dirs.collect::<Option<Vec<_>>>().unwrap_or_default();
        let row = self.store.image_get(image.id)?;
        Ok(ImageDetails {
            names: self.names_of(image.id)?,
            bytes: sum(&layers),
            stored: row.and_then(|row| Timestamp::from_nanosecond(row.stored_at.into()).ok()),
            layer_dirs,
            image,
        })
    }

    /// The history of an image, or of the one for a platform, newest first.
    pub fn image_history(
        &self,
        text: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<HistoryEntry>, Error> {
        let image = self.image_of(text, platform)?;
        let mut layers = self.layers(&image)?.into_iter();
        let mut entries: Vec<HistoryEntry> = image
            .config
            .history
            .iter()
            .map(|history| HistoryEntry {
                image: None,
                history: history.clone(),
                bytes: if history.empty_layer {
                    0
                } else {
                    layers.next().map_or(0, |layer| layer.bytes)
                },
            })
            .collect();
        entries.reverse();
        if let Some(newest) = entries.first_mut() {
            newest.image = Some(image.id);
        }
        Ok(entries)
    }

    /// Gives an image a further name.
    pub fn tag_image(&self, source: &str, name: &str) -> Result<(), Error> {
        let image = self.image(source)?;
        let name: Reference = name.parse().map_err(image::Error::Reference)?;
        if name.digest().is_some() {
            let message = "refusing to create a tag with a digest reference".to_owned();
            return Err(Error::Invalid(message));
        }
        match self.name_meant(source, image.id)? {
            Some(from) => self.store.name_copy(&from, &name, image.id)?,
            None => drop(self.store.name_set(&name, image.id)?),
        }
        self.note_image("tag", &image.id.to_string(), &name.familiar());
        Ok(())
    }

    /// Writes images to one archive, each with the name it was asked for by. A name
    /// that stands for several platforms brings all of them, or the one for `platform`.
    pub fn save_images(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let mut bundles = Vec::with_capacity(names.len());
        for text in names {
            let name = self.name_meant(text, self.image(text)?.id)?;
            let image = self.image_of(text, platform)?;
            let variants = match &name {
                Some(name) if platform.is_none() => image::variants(&self.store, name)?,
                _ => Vec::new(),
            };
            let names: Vec<Reference> = name.into_iter().collect();
            if variants.len() < 2 {
                bundles.push(Bundle::one(image, names));
                continue;
            }
            let variants = variants.into_iter().map(|(platform, image)| Variant {
                platform,
                image,
                annotations: BTreeMap::new(),
            });
            let variants = variants.collect();
            bundles.push(Bundle::several(variants, names, BTreeMap::new(), false)?);
        }
        let layout = Layout::Docker;
        image::save_bundles(&self.store, &bundles, layout, out)?;
        for text in names {
            self.note_id("save", self.image(text)?.id);
        }
        Ok(())
    }

    /// Reads images from an archive, or those for one platform.
    pub fn load_images(
        &self,
        source: &mut (dyn Read + Send),
        platform: Option<&Platform>,
    ) -> Result<Vec<Loaded>, Error> {
        let loaded = image::load_for(&self.store, source, platform)?;
        for one in &loaded {
            self.note_id("load", one.id);
        }
        Ok(loaded)
    }

    /// Makes an image of one layer from a tar of a root file system.
    pub fn import_image(
        &self,
        source: &mut (dyn Read + Send),
        options: ImportOptions,
    ) -> Result<ImageId, Error> {
        let id = image::import(&self.store, source, options)?;
        self.note_id("import", id);
        Ok(id)
    }

    /// Removes a name, and the image with its last one; by ID, the image with
    /// all its names; with `platform` what the name stands for there.
    pub fn remove_image(
        &self,
        text: &str,
        platform: Option<&Platform>,
        options: RemoveOptions,
    ) -> Result<Vec<Removed>, Error> {
        let (store, uses) = (&self.store, self.uses()?);
        let removed = match platform {
            Some(platform) => image::remove_variant(store, text, platform, options.force, &uses)?,
            None => image::remove_reference(store, text, options.force, &uses)?,
        };
        self.note_removed(&removed);
        let deleted = |gone: &Removed| matches!(gone, Removed::Deleted(_));
        if !options.keep_layers && removed.iter().any(deleted) {
            self.collect()?;
        }
        Ok(removed)
    }

    /// Removes images that no container uses: those without a name, or with
    /// `all` every one that `filter` lets through.
    pub fn prune_images(&self, all: bool, filter: &ImageFilter) -> Result<Pruned, Error> {
        let filter = ImageFilter {
            dangling: (!all).then_some(true),
            ..filter.clone()
        };
        let uses = self.uses()?;
        let mut pruned = Pruned::default();
        for summary in self.images(&filter)? {
            let id = summary.image.id;
            if uses.iter().any(|one| one.image == id) {
                continue;
            }
            let names = self.names_of(id)?.into_iter();
            pruned.removed.extend(names.map(Removed::Untagged));
            self.store.image_remove(id)?;
            pruned.removed.push(Removed::Deleted(id));
        }
        pruned.bytes = self.collect()?;
        self.note_removed(&pruned.removed);
        self.note_prune(super::EventKind::Image, pruned.bytes);
        Ok(pruned)
    }

    /// The images that containers were made from.
    pub(super) fn uses(&self) -> Result<Vec<ImageUse>, Error> {
        let filter = container::Filter {
            all: true,
            ..container::Filter::default()
        };
        let containers = container::list(&self.store, &filter)?;
        let mut uses = Vec::new();
        for container in containers {
            let running = container.state == container::Status::Running;
            // The image it was made from, and those that it mounts.
            for image in container.mounted_images.iter().chain([&container.image_id]) {
                uses.extend(image.parse().ok().map(|image| ImageUse {
                    running,
                    image,
                    container: container.id.clone(),
                }));
            }
        }
        Ok(uses)
    }

    fn names_of(&self, id: ImageId) -> Result<Vec<Reference>, Error> {
        let names = self.store.name_list()?;
        Ok(names
            .into_iter()
            .filter(|(_, image)| *image == id)
            .map(|(name, _)| name)
            .collect())
    }

    /// The name that `text` is, unless it found the image as an ID.
    fn name_meant(&self, text: &str, id: ImageId) -> Result<Option<Reference>, Error> {
        let Ok(name) = text.parse::<Reference>() else {
            return Ok(None);
        };
        let found = self.store.name_get(&name)?;
        Ok((found == Some(id) && name.tag().is_some()).then_some(name))
    }

    /// The layers of an image, bottom first.
    pub(super) fn layers(&self, image: &Image) -> Result<Vec<StoredLayer>, Error> {
        let mut below: Option<ChainId> = None;
        let mut layers = Vec::new();
        for (index, diff) in image.config.rootfs.diff_ids.iter().enumerate() {
            let chain = below.map_or_else(|| ChainId::base(*diff), |below| below.push(*diff));
            let row = self.store.snapshot_by_chain(chain)?;
            let blob = image.manifest.layers.get(index).map_or(0, |blob| blob.size);
            layers.push(StoredLayer {
                chain,
                bytes: row.as_ref().map_or(blob, |row| row.bytes),
                snapshot: row.map(|row| row.id),
            });
            below = Some(chain);
        }
        Ok(layers)
    }
}

/// A layer in its place on the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredLayer {
    /// Its stack.
    pub(super) chain: ChainId,
    /// Bytes of its files where it is unpacked, else of its blob.
    pub(super) bytes: u64,
    /// Where it is unpacked.
    pub(super) snapshot: Option<SnapshotId>,
}

fn sum(layers: &[StoredLayer]) -> u64 {
    layers.iter().map(|layer| layer.bytes).sum()
}

/// When the image was made, if its configuration says so.
fn created(config: &ImageConfig) -> Option<Timestamp> {
    config
        .created
        .as_deref()?
        .parse()
        .ok()
        .filter(|moment: &Timestamp| moment.as_second() > 0)
}

fn has_labels(labels: &BTreeMap<String, String>, wanted: &[(String, Option<String>)]) -> bool {
    wanted.iter().all(|(key, value)| {
        labels
            .get(key)
            .is_some_and(|have| value.as_ref().is_none_or(|value| value == have))
    })
}

/// Whether a pattern fits a familiar reference, whole or without its tag.
fn name_matches(pattern: &str, name: &str) -> bool {
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), repository.as_bytes())
}

/// Whether a name fits a pattern as `--filter reference=` has them: `*`, `?`, `[a-z]`.
pub fn fits(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes())
}

/// Go's `path.Match`: `*` and `?` do not cross a slash. A malformed pattern fits nothing.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The last star and how much it has swallowed: going back to it is enough,
    // so that the work is bounded by the product of both lengths.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') if text[t] != b'/' => Some(1),
            Some(b'[') => match class(&pattern[p..], text[t]) {
                Some((true, length)) => Some(length),
                _ => None,
            },
            Some(b'\\') if pattern.get(p + 1) == Some(&text[t]) => Some(2),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) if text[from] != b'/' => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, _) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether `byte` is in the class at the start of `pattern`, and the class' length.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let close = pattern.iter().skip(2).position(|b| *b == b']')? + 2;
    let (negated, mut body) = match &pattern[1..close] {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    while let [low, rest @ ..] = body {
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] => (high, rest),
            _ => (low, rest),
        };
        found |= (low..=high).contains(&&byte);
        body = rest;
    }
    Some((found != negated, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_with_and_without_tags() {
        for (pattern, name, fits) in [
            ("busybox", "busybox:latest", true),
            ("busybox:latest", "busybox:latest", true),
            ("busy*", "busybox:latest", true),
            ("*:latest", "busybox:latest", true),
            ("*", "user/app:1", false),
            ("*/*", "user/app:1", true),
            ("user/*:1", "user/app:1", true),
            ("user/*:2", "user/app:1", false),
            ("u?er/[a-c]pp", "user/app:1", true),
            ("u?er/[^a-c]pp", "user/app:1", false),
            ("localhost:5000/x", "localhost:5000/x:1", true),
            ("[", "x:1", false),
            ("a*b*c*d*e", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(name_matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
