//! The files of each layer, largest first, as lists that open.

use std::collections::BTreeMap;

use rbuild::progress::Record;
use rbuild::snapshot::{Contents, ContentsEntry, ContentsKind};

use super::html::escape;
use crate::cli::human;
use crate::cli::progress::visible;

/// How much of a name is shown, in characters.
const NAME: usize = 255;

/// The section with all layers.
pub(super) fn section(
    page: &mut String,
    record: &Record,
    contents: &BTreeMap<usize, Vec<Contents>>,
) {
    if contents.is_empty() {
        return;
    }
    page.push_str(
        "<section aria-labelledby=\"layers\">\n<h2 id=\"layers\">Layers</h2>\n\
         <p>What each step added to the tree of files; entries are sorted by size.</p>\n",
    );
    let largest = contents.values().map(|layers| bytes(layers)).max();
    for (place, layers) in contents {
        let step = &record.steps[*place];
        let name = escape(&human::ellipsis(&visible(&step.name), NAME));
        page.push_str(&format!(
            "<details class=\"layer\" id=\"layer-{}\"><summary><code><bdi>{name}</bdi></code>",
            step.step.0
        ));
        amount(page, bytes(layers), largest.unwrap_or(0));
        page.push_str("</summary>\n");
        if let Some(digest) = step.layer.as_ref().and_then(|layer| layer.diff_id.as_ref()) {
            page.push_str(&format!(
                "<p class=\"facts\"><code>{}</code></p>\n",
                escape(digest)
            ));
        }
        for (index, layer) in layers.iter().enumerate() {
            if layers.len() > 1 {
                let number = layers.len() - index;
                page.push_str(&format!("<h3>Layer {number} of {}</h3>\n", layers.len()));
            }
            tree(page, layer);
        }
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
}

fn bytes(layers: &[Contents]) -> u64 {
    layers.iter().map(|layer| layer.root.bytes).sum()
}

fn tree(page: &mut String, layer: &Contents) {
    let root = &layer.root;
    if root.files == 0 && root.children.is_empty() && root.others.0 == 0 {
        page.push_str("<p>It holds no files.</p>\n");
        return;
    }
    list(page, root, root.bytes);
    if !layer.complete {
        page.push_str(&format!(
            "<p>Only the first {} entries were counted.</p>\n",
            layer.entries
        ));
    }
}

/// The entries of a directory; `whole` is the layer's size.
fn list(page: &mut String, directory: &ContentsEntry, whole: u64) {
    page.push_str("<ul class=\"tree\">\n");
    for entry in &directory.children {
        let open = !entry.children.is_empty() || entry.others.0 > 0;
        page.push_str(if open {
            "<li><details><summary>"
        } else {
            "<li><span class=\"leaf\">"
        });
        label(page, entry);
        amount(page, entry.bytes, whole);
        if open {
            page.push_str("</summary>\n");
            list(page, entry, whole);
            page.push_str("</details></li>\n");
        } else {
            page.push_str("</span></li>\n");
        }
    }
    let (count, bytes) = directory.others;
    if count > 0 {
        let others = if count == 1 { "other" } else { "others" };
        page.push_str(&format!(
            "<li><span class=\"leaf\"><em>{count} {others}</em>"
        ));
        amount(page, bytes, whole);
        page.push_str("</span></li>\n");
    }
    page.push_str("</ul>\n");
}

fn label(page: &mut String, entry: &ContentsEntry) {
    let name = escape(&human::ellipsis(&entry.name, NAME));
    let (class, after) = match entry.kind {
        ContentsKind::Directory => ("directory", "/"),
        ContentsKind::File => ("file", ""),
        ContentsKind::Link => ("link", " <small>link</small>"),
        ContentsKind::Removed => ("removed", " <small>removed</small>"),
        ContentsKind::Other => ("other", " <small>special</small>"),
    };
    page.push_str(&format!(
        "<span class=\"{class}\"><bdi>{name}</bdi>{after}</span>"
    ));
    if entry.kind == ContentsKind::Directory {
        let files = if entry.files == 1 { "file" } else { "files" };
        page.push_str(&format!(" <small>{} {files}</small>", entry.files));
    }
}

/// A size, and a bar with its share of `whole`.
fn amount(page: &mut String, bytes: u64, whole: u64) {
    #[allow(clippy::cast_precision_loss, reason = "it is a bar's width")]
    let share = bytes as f64 / whole.max(1) as f64 * 100.0;
    page.push_str(&format!(
        "<span class=\"amount\">{}</span><span class=\"share\" aria-hidden=\"true\"><span style=\"width:{share:.1}%\"></span></span>",
        human::size(bytes)
    ));
}
