//! From registry to registry: documents as they are, blobs straight through.
//!
//! Nothing is unpacked, nothing touches the disk, and no blob is ever whole in
//! memory. Documents keep their bytes, so that every digest stays what it was;
//! a document is sent after all that it names. What the target has already is
//! left alone, so a copy that was interrupted goes on where it was.

mod blob;
mod documents;
mod platforms;

use super::at_once::all;
use super::referrers::{self, put_document};
use super::{Error, Watch};
use crate::oci::{Descriptor, Digest, Platform, Reference, media_type};
use crate::registry::{Client, Fetched};

use blob::Blobs;
pub(super) use documents::Document;
use documents::Tree;
pub(super) use platforms::no_platform;

/// Deepest chain of what refers to what refers to an image.
const REFERRERS_DEPTH: usize = 3;

/// What is copied of an image.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// For these platforms alone; all when empty. For one platform its manifest
    /// is copied, for several an index of theirs.
    pub platforms: Vec<Platform>,
    /// Whether one platform is copied as an index too.
    pub prefer_index: bool,
    /// Whether what refers to the image goes with it: signatures, bills of materials.
    pub referrers: bool,
}

/// What a copy made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The digest of what the target's name leads to.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many documents were sent.
    pub documents: usize,
    /// How many bytes of blobs were sent.
    pub bytes: u64,
}

/// Copies what `source` names to `target`.
pub fn copy(
    client: &Client,
    source: &Reference,
    target: &Reference,
    options: &CopyOptions,
    watch: &dyn Watch,
) -> Result<Copied, Error> {
    let named = client.manifest(source)?;
    let named = platforms::choose(client, source, named, options)?;
    let journey = Journey {
        client,
        source,
        target,
        watch,
    };
    let mut copied = Copied {
        digest: named.digest,
        media_type: named.media_type.clone(),
        size: named.bytes.len() as u64,
        documents: 0,
        bytes: 0,
    };
    let digests = journey.bring(named, true, &mut copied)?;
    if options.referrers {
        journey.referrers(digests, REFERRERS_DEPTH, &mut copied)?;
    }
    Ok(copied)
}

/// Brings what a descriptor names into the target's repository, under its
/// digest alone.
pub(super) fn bring(
    client: &Client,
    source: &Reference,
    target: &Reference,
    what: &Descriptor,
    watch: &dyn Watch,
) -> Result<Copied, Error> {
    let mut copied = Copied {
        digest: what.digest,
        media_type: what.media_type.clone(),
        size: what.size,
        documents: 0,
        bytes: 0,
    };
    let is_there = media_type::to_oci(&what.media_type) != media_type::INDEX
        && client
            .find_manifest(&target.with_digest(what.digest))?
            .is_some();
    if !is_there {
        let named = client.manifest_by_digest(source, what.digest)?;
        let journey = Journey {
            client,
            source,
            target,
            watch,
        };
        journey.bring(named, false, &mut copied)?;
    }
    Ok(copied)
}

/// One copy: from where, to where.
struct Journey<'a> {
    client: &'a Client,
    source: &'a Reference,
    target: &'a Reference,
    watch: &'a dyn Watch,
}

impl Journey<'_> {
    /// Brings a document and all that it names; under the target's own name, or
    /// under its digest. Returns the digests of the documents beneath it, its own included.
    fn bring(&self, root: Fetched, named: bool, copied: &mut Copied) -> Result<Vec<Digest>, Error> {
        let tree = Tree::gather(self.client, self.source, self.target, root)?;
        let blobs = Blobs::new(self.client, self.source, self.target, self.watch);
        let wanted = tree.blobs();
        for blob in &wanted {
            self.watch.layer(blob.digest, super::LayerState::Waiting);
        }
        let sent = all(wanted.len(), |index| blobs.bring(&wanted[index]))?;
        copied.bytes += sent.iter().sum::<u64>();
        let (root, beneath) = tree.in_order();
        for document in beneath {
            put_document(
                self.client,
                &self.target.with_digest(document.digest),
                document,
            )?;
        }
        let name = if named {
            self.target.clone()
        } else {
            self.target.with_digest(root.digest)
        };
        put_document(self.client, &name, root)?;
        copied.documents += tree.count();
        Ok(tree.digests())
    }

    /// Brings what refers to these documents.
    fn referrers(
        &self,
        digests: Vec<Digest>,
        depth: usize,
        copied: &mut Copied,
    ) -> Result<(), Error> {
        if depth == 0 {
            return Ok(());
        }
        for digest in digests {
            for found in referrers::list(self.client, self.source, digest, None)? {
                let fetched = self.client.manifest_by_digest(self.source, found.digest)?;
                let below = self.bring(fetched, false, copied)?;
                self.referrers(below, depth - 1, copied)?;
            }
        }
        Ok(())
    }
}
