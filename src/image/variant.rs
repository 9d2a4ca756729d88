//! One platform's image of a name that may stand for several.

use super::read::find_for;
use super::remove::{remove_unnamed, short};
use super::{Conflict, Error, Image, ImageUse, Removed, find, remove_reference, variants};
use crate::oci::{ImageConfig, ImageId, Platform, Reference};
use crate::store::Store;

/// Whether an image is for a platform. One that was asked for without a variant
/// fits any.
pub fn fits_platform(config: &ImageConfig, wanted: &Platform) -> bool {
    let own = platform_of(config);
    own.os == wanted.os
        && own.architecture == wanted.architecture
        && (wanted.variant.is_none() || own.variant == wanted.variant)
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform::normalised(&config.os, &config.architecture, config.variant.as_deref())
}

/// Finds an image as [`find`] does, and the one for `platform` where its name
/// stands for several.
///
/// # Errors
/// [`Error::WrongPlatform`] where there is none for it.
pub fn find_exactly(store: &Store, text: &str, platform: &Platform) -> Result<Image, Error> {
    let image = find_for(store, text, platform)?;
    if fits_platform(&image.config, platform) {
        return Ok(image);
    }
    let name = text.parse::<Reference>().ok();
    let all = name.map(|name| variants(store, &name)).transpose()?;
    let all = all.unwrap_or_default();
    let found: Vec<String> = if all.is_empty() {
        vec![platform_of(&image.config).to_string()]
    } else {
        all.iter().map(|(one, _)| one.to_string()).collect()
    };
    Err(Error::WrongPlatform {
        reference: text.to_owned(),
        found: found.join(", "),
        wanted: platform.to_string(),
    })
}

/// Takes away what a name stands for on one platform; the name itself with the
/// last of them. `uses` are the containers there are.
///
/// # Errors
/// [`Error::WrongPlatform`], and [`Error::InUse`] for what only `force`, or not
/// even that, takes away.
pub fn remove_variant(
    store: &Store,
    text: &str,
    platform: &Platform,
    force: bool,
    uses: &[ImageUse],
) -> Result<Vec<Removed>, Error> {
    let image = find_exactly(store, text, platform)?;
    let Ok(name) = text.parse::<Reference>() else {
        return remove_reference(store, text, force, uses);
    };
    let all = store.name_platforms(&name)?;
    let kept: Vec<(Platform, ImageId)> =
        all.into_iter().filter(|(_, id)| *id != image.id).collect();
    let Some((_, first)) = kept.first() else {
        return remove_reference(store, text, force, uses);
    };
    let own = || uses.iter().filter(|one| one.image == image.id);
    let running = own().find(|one| one.running);
    let stopped = own().next().filter(|_| !force);
    let why = match (running, stopped) {
        (Some(one), _) => Some(Conflict::Running(short(&one.container))),
        (None, Some(one)) => Some(Conflict::Stopped(short(&one.container))),
        (None, None) => None,
    };
    if let Some(why) = why {
        let image = image.id.0.short();
        return Err(Error::InUse { image, why });
    }
    let now = find(store, text)?.id;
    let preferred = if now == image.id { *first } else { now };
    store.name_set_platforms(&name, preferred, &kept)?;
    let mut removed = Vec::new();
    remove_unnamed(store, preferred, &[image.id], uses, &mut removed)?;
    Ok(removed)
}
