//! A layer that holds a secret is not kept.
//!
//! Looked for is a secret's whole value as it is, in the files that the step wrote:
//! not encoded forms, and not values shorter than eight bytes, which plain files
//! have by chance.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::build::redact::Search;
use crate::build::step_options::Secret;
use crate::fs::{At, PathError};
use crate::layer::walk_tree;

/// Shortest value that is looked for.
const SHORTEST: usize = 8;
/// How much of a file is read at once.
const CHUNK: usize = 1 << 18;

/// A secret in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leak {
    /// The secret's ID.
    pub(super) id: String,
    /// The file, from the root.
    pub(super) path: String,
}

/// Looks for the values of `secrets` in the files of a layer.
pub(super) fn find(layer: &Path, secrets: &[(&str, &Secret)]) -> Result<Option<Leak>, PathError> {
    let secrets: Vec<(&str, &[u8])> = secrets
        .iter()
        .map(|(id, secret)| (*id, secret.value().trim_ascii()))
        .filter(|(_, value)| value.len() >= SHORTEST)
        .collect();
    if secrets.is_empty() {
        return Ok(None);
    }
    let search = Search::new(secrets.iter().map(|(_, value)| value.to_vec()).collect());
    let mut leak = None;
    let mut buffer = Vec::new();
    walk_tree(layer, &mut |entry, file| {
        let (Some(file), None) = (file, &leak) else {
            return Ok::<(), PathError>(());
        };
        let path = layer.join(&entry.path);
        if let Some(value) = value_in(file, &search, &mut buffer).at("read", &path)? {
            let owner = secrets.iter().find(|(_, own)| *own == value.as_slice());
            leak = owner.map(|(id, _)| Leak {
                id: (*id).to_owned(),
                path: format!("/{}", entry.path.display()),
            });
        }
        Ok(())
    })?;
    Ok(leak)
}

/// The first value in a file, however it is cut by reading in pieces.
fn value_in(
    file: &File,
    search: &Search,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Vec<u8>>> {
    buffer.clear();
    loop {
        let count = file.take(CHUNK as u64).read_to_end(buffer)?;
        if let Some((at, length)) = search.find(buffer) {
            return Ok(Some(buffer[at..at + length].to_vec()));
        }
        if count == 0 {
            return Ok(None);
        }
        let kept = search.beginning(buffer);
        buffer.drain(..buffer.len() - kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_the_middle_and_across_pieces() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let secret = Secret::new(*b"hunter2-hunter2\n");
        let short = Secret::new(*b"pw");
        let secrets = [("one", &secret), ("two", &short)];
        std::fs::write(dir.path().join("d/fine"), "hunter2-pw").unwrap();
        assert_eq!(find(dir.path(), &secrets).unwrap(), None);
        let mut bytes = vec![b'h'; CHUNK - 5];
        bytes.extend_from_slice(b"hunter2-hunter2 and more");
        std::fs::write(dir.path().join("d/x"), &bytes).unwrap();
        let leak = find(dir.path(), &secrets).unwrap().unwrap();
        assert_eq!((leak.id.as_str(), leak.path.as_str()), ("one", "/d/x"));
    }
}
