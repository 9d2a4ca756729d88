//! A failed step's tree as an image.

use super::LeftImage;
use crate::build::error::Error;
use crate::build::export::config::config;
use crate::build::graph::Graph;
use crate::build::solve::Solved;
use crate::image::{self, NewImage};
use crate::oci::Reference;
use crate::store::{SnapshotId, Store};

/// The repository of images of failed steps.
const REPOSITORY: &str = "rbuild-failed";
/// Longest tag, as the distribution specification has it.
const TAG_LIMIT: usize = 128;

/// Makes an image of the tree `top` with the configuration and the history of
/// the stage up to the step whose line in progress is `title`.
pub(super) fn keep(
    store: &Store,
    graph: &Graph,
    solved: &Solved,
    top: Option<SnapshotId>,
    title: &str,
    epoch: Option<i64>,
) -> Result<LeftImage, Error> {
    // Without an image of its own the tree is described by itself.
    let base = graph.base.as_ref();
    let base = base.and_then(|base| image::find(store, &base.id.to_string()).ok());
    let config = config(store, graph, solved, &[], epoch)?;
    let has_entrypoint = config.config.entrypoint.is_some();
    let name = name(title)?;
    let new = NewImage {
        top,
        base,
        config,
        names: vec![name.clone()],
    };
    let image = image::assemble(store, &new)?;
    Ok(LeftImage {
        id: image.id,
        name,
        has_entrypoint,
    })
}

/// `rbuild-failed:build-2` for `[build 2/5] RUN make`.
fn name(title: &str) -> Result<Reference, Error> {
    let text = format!("{REPOSITORY}:{}", tag(title));
    text.parse()
        .map_err(|err: crate::oci::ParseReferenceError| Error::Scene(err.to_string()))
}

fn tag(title: &str) -> String {
    let place = title
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let place = place.map_or("", |(place, _)| place);
    let place = place.split_once('/').map_or(place, |(place, _)| place);
    let word = match place.trim() {
        "" => "step".to_owned(),
        place if place.bytes().all(|byte| byte.is_ascii_digit()) => format!("step-{place}"),
        place => place.to_owned(),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut tag: String = word
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(TAG_LIMIT)
        .collect();
    if tag.starts_with(['.', '-']) {
        tag.replace_range(..1, "_");
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_after_the_step() {
        assert_eq!(tag("[build 2/5] RUN make"), "build-2");
        assert_eq!(tag("[stage-1 3/4] RUN make"), "stage-1-3");
        assert_eq!(tag("[2/5] RUN make"), "step-2");
        assert_eq!(tag("[-x 2/5] RUN make"), "_x-2");
        assert_eq!(tag("odd"), "step");
        assert!(name(&format!("[{} 2/5] RUN x", "long".repeat(60))).is_ok());
    }
}
