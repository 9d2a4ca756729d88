//! Images with what their names stand for on each platform, as `images --tree` shows them.

use super::images::ImageFilter;
use super::{Engine, Error};
use crate::image::{self, Image};
use crate::oci::{ImageId, Platform, Reference};

/// An image, or what its names stand for on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// Its ID.
    pub id: ImageId,
    /// Bytes of its files where it is unpacked, else of its layers.
    pub disk: u64,
    /// Bytes of its layers as a registry has them.
    pub content: u64,
    /// Whether a container was made from it.
    pub used: bool,
}

/// An image with its names, and beneath it those of each platform where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTree {
    /// Its tags as familiar references; none for one that is known by its digest alone.
    pub names: Vec<String>,
    /// The image that the names stand for; the sizes are those of all platforms.
    pub image: TreeNode,
    /// What they stand for on each platform.
    pub platforms: Vec<(Platform, TreeNode)>,
}

impl Engine {
    /// The images that `filter` lets through, newest first, each with its platforms.
    pub fn image_trees(&self, filter: &ImageFilter) -> Result<Vec<ImageTree>, Error> {
        let used: Vec<ImageId> = self.uses()?.into_iter().map(|one| one.image).collect();
        let mut trees = Vec::new();
        for summary in self.images(filter)? {
            let had_names = !summary.names.is_empty();
            let mut names = Vec::new();
            let mut platforms = Vec::new();
            for text in summary.names.iter().filter(|name| !name.contains('@')) {
                let name: Reference = text.parse().map_err(image::Error::Reference)?;
                // What it stands for elsewhere stands beneath the other image.
                if self.store().name_get(&name)? == Some(summary.image.id) {
                    let variants = image::variants(self.store(), &name)?;
                    platforms = if variants.len() > 1 {
                        variants
                    } else {
                        platforms
                    };
                    names.push(text.clone());
                }
            }
            let digests = summary.names.iter().any(|name| name.contains('@'));
            if names.is_empty() && had_names && !digests {
                continue;
            }
            let platforms = platforms.into_iter().map(|(platform, image)| {
                let node = self.node(&image, used.contains(&image.id))?;
                Ok((platform, node))
            });
            let platforms: Vec<(Platform, TreeNode)> = platforms.collect::<Result<_, Error>>()?;
            let mut image = self.node(&summary.image, used.contains(&summary.image.id))?;
            if !platforms.is_empty() {
                image.disk = platforms.iter().map(|(_, node)| node.disk).sum();
                image.content = platforms.iter().map(|(_, node)| node.content).sum();
                image.used = platforms.iter().any(|(_, node)| node.used);
            }
            trees.push(ImageTree {
                names,
                image,
                platforms,
            });
        }
        Ok(trees)
    }

    fn node(&self, image: &Image, used: bool) -> Result<TreeNode, Error> {
        let layers = &image.manifest.layers;
        Ok(TreeNode {
            id: image.id,
            disk: self.layers(image)?.iter().map(|layer| layer.bytes).sum(),
            content: layers.iter().map(|layer| layer.size).sum(),
            used,
        })
    }
}
