//! Two builds of the same, compared: what a reproducible build must not have.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::export::{Built, Documents};
use super::{BuildRequest, Error, OutputForm};
use crate::fs::{At, PathError, Root};
use crate::image::{Image, Variant};
use crate::layer::{Entry, EntryKind, walk_tree};
use crate::oci::ChainId;
use crate::snapshot::layer_dir;
use crate::store::Store;

/// Times in layers and documents are kept to the second.
const SECOND: Duration = Duration::from_millis(1_100);

/// Waits until a build that begins now cannot share a second with the one that
/// began at `began`: what depends on the clock shall be seen.
pub(super) fn wait_for_another_second(began: Instant) {
    std::thread::sleep(SECOND.saturating_sub(began.elapsed()));
}

/// How the images of two builds differ: the first layer that does, the first
/// file in it, and in what. Empty when they are the same to the byte.
pub(super) fn differences(
    store: &Store,
    request: &BuildRequest,
    first: &[Built],
    second: &[Built],
) -> Result<Vec<String>, Error> {
    let form = OutputForm::default();
    let images = |built| Documents::new(store, request, built).images(&form);
    let (first, second) = (images(first)?, images(second)?);
    for (one, other) in first.iter().zip(&second) {
        let mut found = compare(store, one, other)?;
        if !found.is_empty() {
            if first.len() > 1 {
                found.insert(0, format!("platform {}", one.platform));
            }
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn compare(store: &Store, one: &Variant, other: &Variant) -> Result<Vec<String>, Error> {
    let (one, other) = (&one.image, &other.image);
    let (ours, theirs) = (&one.config.rootfs.diff_ids, &other.config.rootfs.diff_ids);
    let differing = ours.iter().zip(theirs).position(|(a, b)| a != b);
    if let Some(index) = differing {
        let mut found = vec![layer_line(one, index)];
        found.extend(compare_layers(store, one, other, index)?);
        return Ok(found);
    }
    if ours.len() != theirs.len() {
        return Ok(vec![format!(
            "the first build has {} layers, the second {}",
            ours.len(),
            theirs.len()
        )]);
    }
    if one.config_bytes == other.config_bytes {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "the layers are the same, the configurations differ in {}",
        members(&one.config_bytes, &other.config_bytes).join(", ")
    )])
}

/// `layer 3 of 4: RUN date > /when`.
fn layer_line(image: &Image, index: usize) -> String {
    let mut layers = image.config.history.iter().filter(|one| !one.empty_layer);
    let made_by = layers.nth(index).and_then(|one| one.created_by.as_deref());
    let count = image.config.rootfs.diff_ids.len();
    let line = made_by.unwrap_or_default().trim();
    let line = line.strip_suffix("# buildkit").unwrap_or(line).trim();
    format!("layer {} of {count}: {line}", index + 1)
}

/// The members of two JSON objects that differ.
fn members(one: &[u8], other: &[u8]) -> Vec<String> {
    type Object = serde_json::Map<String, serde_json::Value>;
    let read = |bytes| serde_json::from_slice::<Object>(bytes).unwrap_or_default();
    let (one, other) = (read(one), read(other));
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

type Entries = BTreeMap<PathBuf, Entry>;

fn compare_layers(
    store: &Store,
    one: &Image,
    other: &Image,
    index: usize,
) -> Result<Vec<String>, Error> {
    let dir = |image: &Image| -> Result<Option<PathBuf>, Error> {
        let stack = &image.config.rootfs.diff_ids[..=index];
        let row = ChainId::of(stack)
            .map(|chain| store.snapshot_by_chain(chain))
            .transpose()?
            .flatten();
        Ok(row.map(|row| layer_dir(store, row.id)))
    };
    let (Some(one), Some(other)) = (dir(one)?, dir(other)?) else {
        return Ok(Vec::new());
    };
    let (ours, theirs) = (entries(&one)?, entries(&other)?);
    let mut paths: Vec<&PathBuf> = ours.keys().chain(theirs.keys()).collect();
    paths.sort();
    paths.dedup();
    let mut times = None;
    for path in paths {
        let shown = format!("/{}", path.display());
        match (ours.get(path), theirs.get(path)) {
            (Some(_), None) => return Ok(vec![format!("{shown}: only in the first build")]),
            (None, Some(_)) => return Ok(vec![format!("{shown}: only in the second build")]),
            (Some(a), Some(b)) => {
                let found = compare_entries((&one, a), (&other, b))?;
                if !found.is_empty() {
                    return Ok(vec![format!("{shown}: {}", found.join(", "))]);
                }
                if times.is_none() && a.mtime != b.mtime {
                    times = Some((shown, a.mtime, b.mtime));
                }
            }
            (None, None) => {}
        }
    }
    // Times differ wherever something was written; what else differs tells more.
    Ok(times.map_or_else(Vec::new, |(shown, a, b)| {
        vec![
            format!("{shown}: time {} and {}", moment(a), moment(b)),
            "hint: with SOURCE_DATE_EPOCH set, times do not depend on when a step runs".to_owned(),
        ]
    }))
}

fn entries(dir: &Path) -> Result<Entries, PathError> {
    let mut entries = Entries::new();
    walk_tree(dir, &mut |entry, _| {
        entries.insert(entry.path.clone(), entry.clone());
        Ok::<(), PathError>(())
    })?;
    Ok(entries)
}

/// In what two entries differ, times aside.
fn compare_entries(
    (one_dir, one): (&Path, &Entry),
    (other_dir, other): (&Path, &Entry),
) -> Result<Vec<String>, PathError> {
    let mut found = Vec::new();
    match (&one.kind, &other.kind) {
        (EntryKind::File { size: a, .. }, EntryKind::File { size: b, .. }) => {
            if a != b {
                found.push(format!("content differs ({a} and {b} bytes)"));
            } else if let Some(at) = first_difference(one_dir, other_dir, &one.path)? {
                found.push(format!("content differs from byte {at} on"));
            }
        }
        (EntryKind::Symlink(a), EntryKind::Symlink(b)) if a != b => {
            found.push(format!("link to {} and {}", a.display(), b.display()));
        }
        (a, b) if a != b => found.push("another kind of file".to_owned()),
        _ => {}
    }
    if one.mode != other.mode {
        found.push(format!("mode {:04o} and {:04o}", one.mode, other.mode));
    }
    if (one.uid, one.gid) != (other.uid, other.gid) {
        found.push(format!(
            "owner {}:{} and {}:{}",
            one.uid, one.gid, other.uid, other.gid
        ));
    }
    if one.xattrs != other.xattrs {
        found.push("extended attributes differ".to_owned());
    }
    Ok(found)
}

/// Where two files of one length begin to differ.
fn first_difference(one: &Path, other: &Path, path: &Path) -> Result<Option<u64>, PathError> {
    let open = |dir: &Path| -> Result<File, PathError> { Root::open(dir)?.open_file(path) };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut ours, mut theirs) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut position = 0;
    loop {
        let read = |file: &mut File, buffer: &mut [u8]| {
            let mut filled = 0;
            while filled < buffer.len() {
                match file.read(&mut buffer[filled..])? {
                    0 => break,
                    count => filled += count,
                }
            }
            Ok::<usize, std::io::Error>(filled)
        };
        let a = read(&mut one, &mut ours).at("read", path)?;
        let b = read(&mut other, &mut theirs).at("read", path)?;
        let pairs = ours[..a].iter().zip(&theirs[..b]);
        if let Some(at) = pairs.clone().position(|(a, b)| a != b) {
            return Ok(Some(position + at as u64));
        }
        if a == 0 || a != b {
            return Ok((a != b).then_some(position + a.min(b) as u64));
        }
        position += a as u64;
    }
}

fn moment(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds);
    moment.map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}
