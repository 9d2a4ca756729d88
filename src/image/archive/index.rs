//! What the descriptors of an index mean: which are images, by what names, and
//! which of them is for this machine.

use std::collections::HashMap;

use super::documents::{IMAGE_NAME, REF_NAME, REFERENCE_TYPE};
use crate::oci::{Descriptor, Platform, Reference};

/// Most images of one archive.
pub(super) const IMAGE_LIMIT: usize = 1_000;

/// Manifests that share their names are one image for several platforms;
/// without a name each is an image of its own.
pub(super) fn by_names(manifests: Vec<Descriptor>) -> Vec<(Vec<Reference>, Vec<Descriptor>)> {
    let mut groups: Vec<(Vec<Reference>, Vec<Descriptor>)> = Vec::new();
    let mut places: HashMap<Reference, usize> = HashMap::new();
    for descriptor in manifests.into_iter().take(IMAGE_LIMIT) {
        if is_attestation(&descriptor) {
            continue;
        }
        let name = name_of(&descriptor);
        if let Some(place) = name.as_ref().and_then(|name| places.get(name)) {
            groups[*place].1.push(descriptor);
            continue;
        }
        if let Some(name) = &name {
            places.insert(name.clone(), groups.len());
        }
        groups.push((name.into_iter().collect(), vec![descriptor]));
    }
    groups
}

/// The full name in a descriptor's annotations. OCI's own annotation often has
/// a bare tag, which names nothing.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let full = descriptor.annotations.get(IMAGE_NAME);
    let other = descriptor.annotations.get(REF_NAME);
    let text = full.or(other.filter(|text| text.contains([':', '/'])))?;
    let name: Reference = text.parse().ok()?;
    (name.tag().is_some() && name.digest().is_none()).then_some(name)
}

/// The manifest for this machine, or else the first that is an image.
pub(super) fn choose(manifests: &[Descriptor]) -> Option<&Descriptor> {
    choose_platform(manifests, &Platform::host())
        .or_else(|| manifests.iter().find(|one| !is_attestation(one)))
}

/// The manifest of an index for a platform: the very one, or else one of
/// another variant.
pub fn choose_platform<'a>(
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Option<&'a Descriptor> {
    let fits = |descriptor: &&Descriptor, exactly: bool| {
        descriptor.platform.as_ref().is_some_and(|platform| {
            let variant = platform.variant.as_deref().filter(|_| exactly);
            let platform = Platform::normalised(&platform.os, &platform.architecture, variant);
            platform.os == wanted.os
                && platform.architecture == wanted.architecture
                && (!exactly || platform.variant == wanted.variant)
        })
    };
    let images = || manifests.iter().filter(|one| !is_attestation(one));
    images()
        .find(|one| fits(one, true))
        .or_else(|| images().find(|one| fits(one, false)))
}

/// Whether it is no image, but says something of one.
pub(super) fn is_attestation(descriptor: &Descriptor) -> bool {
    let unknown = descriptor
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown");
    unknown || descriptor.annotations.contains_key(REFERENCE_TYPE)
}
