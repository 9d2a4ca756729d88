//! The list of files that a COPY layer holds, kept beside it: it lets the next
//! build of the same instruction link what has not changed, and says which file
//! made the cache miss.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::place::Plan;
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind};
use crate::oci::Digest;

/// First bytes of the file; changed with its format.
const MAGIC: &[u8; 8] = b"rbfile\0\x01";
/// Largest list that is read back.
const FILE_LIMIT: u64 = 1 << 30;

/// What is known of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    digest: Digest,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
}

/// The regular files of one layer, by path.
#[derive(Debug, Default)]
pub(super) struct FileList(HashMap<PathBuf, Known>);

impl FileList {
    /// The list of a plan whose digests are known.
    pub(super) fn of(plan: &Plan) -> Self {
        let known = plan.iter().filter_map(|(path, placed)| {
            let entry = &placed.entry;
            let EntryKind::File {
                content: Some(digest),
                ..
            } = entry.kind
            else {
                return None;
            };
            let known = Known {
                digest,
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                mtime: entry.mtime,
            };
            Some((path.clone(), known))
        });
        Self(known.collect())
    }

    /// Whether the layer holds exactly this file.
    pub(super) fn holds(&self, entry: &Entry, digest: Digest) -> bool {
        let wanted = Known {
            digest,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        };
        entry.xattrs.is_empty() && self.0.get(&entry.path) == Some(&wanted)
    }

    /// The digests alone.
    pub(super) fn digests(self) -> HashMap<PathBuf, Digest> {
        let files = self.0.into_iter();
        files.map(|(path, known)| (path, known.digest)).collect()
    }

    /// Writes the list. It is an aid only, so it is not synced.
    pub(super) fn save(&self, file: &Path) -> Result<(), PathError> {
        let mut bytes = MAGIC.to_vec();
        for (path, known) in &self.0 {
            let path = path.as_os_str().as_bytes();
            let Ok(length) = u16::try_from(path.len()) else {
                continue;
            };
            bytes.extend(length.to_le_bytes());
            bytes.extend(path);
            bytes.extend(known.digest.raw());
            for number in [known.mode, known.uid, known.gid] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(known.mtime.to_le_bytes());
        }
        let sum = Digest::of(&bytes);
        bytes.extend(sum.raw());
        std::fs::write(file, bytes).at("write", file)
    }

    /// Reads a list; `None` when it is missing or damaged.
    pub(super) fn load(file: &Path) -> Option<Self> {
        if std::fs::metadata(file).ok()?.len() > FILE_LIMIT {
            return None;
        }
        let bytes = std::fs::read(file).ok()?;
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).raw() != sum {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut known = HashMap::with_capacity(rest.len() / 100);
        while !rest.is_empty() {
            let length = usize::from(u16::from_le_bytes(*take(&mut rest)?));
            let (path, after) = rest.split_at_checked(length)?;
            rest = after;
            let digest = Digest::from_raw(*take(&mut rest)?);
            let entry = Known {
                digest,
                mode: u32::from_le_bytes(*take(&mut rest)?),
                uid: u32::from_le_bytes(*take(&mut rest)?),
                gid: u32::from_le_bytes(*take(&mut rest)?),
                mtime: i64::from_le_bytes(*take(&mut rest)?),
            };
            known.insert(PathBuf::from(OsStr::from_bytes(path)), entry);
        }
        Some(Self(known))
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(head)
}
