//! Where lists are kept: a file each, changed as a whole.

use std::path::{Path, PathBuf};

use super::super::Error;
use super::List;
use crate::fs::{At, Lock, replace};
use crate::oci::{Digest, Reference};

/// Largest list that is read, in bytes.
const SIZE_LIMIT: u64 = 16 << 20;

/// The lists of a store.
#[derive(Debug)]
pub struct Lists {
    dir: PathBuf,
    lock: PathBuf,
}

impl Lists {
    /// The lists in a directory, which is made when the first one is kept;
    /// `lock` is the file that keeps changes apart.
    pub fn new(dir: PathBuf, lock: PathBuf) -> Self {
        Self { dir, lock }
    }

    /// Names can be longer than file names may be.
    fn path(&self, name: &Reference) -> PathBuf {
        let hex = Digest::of(name.to_string().as_bytes()).hex();
        self.dir.join(format!("{hex}.json"))
    }

    /// The list of this name.
    pub fn get(&self, name: &Reference) -> Result<Option<List>, Error> {
        Ok(read(&self.path(name))?.filter(|list| list.name == name.to_string()))
    }

    /// The names of all lists, sorted.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err).at("list", &self.dir)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.at("list", &self.dir)?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                names.extend(read(&path)?.map(|list| list.name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Changes the list of this name under a lock: `change` gets the one that is
    /// there, and its result is kept. When it fails nothing changes.
    pub fn change<E: From<Error>>(
        &self,
        name: &Reference,
        change: impl FnOnce(Option<List>) -> Result<List, E>,
    ) -> Result<(), E> {
        let _turn = Lock::exclusive(&self.lock).map_err(Error::from)?;
        let list = change(self.get(name)?)?;
        Ok(self.put(name, &list)?)
    }

    fn put(&self, name: &Reference, list: &List) -> Result<(), Error> {
        let path = self.path(name);
        std::fs::create_dir_all(&self.dir).at("create", &self.dir)?;
        let bytes = serde_json::to_vec(list)
            .map_err(std::io::Error::other)
            .at("write", &path)?;
        Ok(replace(&path, &bytes)?)
    }

    /// Forgets the list of this name; whether there was one.
    pub fn remove(&self, name: &Reference) -> Result<bool, Error> {
        let _turn = Lock::exclusive(&self.lock)?;
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err).at("remove", &path)?,
        }
    }
}

fn read(path: &Path) -> Result<Option<List>, Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err).at("open", path)?,
    };
    let mut bytes = Vec::new();
    let mut bounded = std::io::Read::take(file, SIZE_LIMIT);
    std::io::Read::read_to_end(&mut bounded, &mut bytes).at("read", path)?;
    let list = serde_json::from_slice(&bytes).map_err(std::io::Error::other);
    Ok(Some(list.at("read", path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let lists = Lists::new(dir.path().join("lists"), dir.path().join("lock"));
        let name: Reference = "h:1/a/b:1".parse().unwrap();
        let other: Reference = "h:1/a/b:2".parse().unwrap();
        assert!(lists.get(&name).unwrap().is_none());
        assert!(lists.names().unwrap().is_empty());
        let new = |old: Option<List>| {
            assert!(old.is_none());
            Ok::<_, Error>(List::new(&name))
        };
        lists.change(&name, new).unwrap();
        assert_eq!(lists.get(&name).unwrap(), Some(List::new(&name)));
        assert!(lists.get(&other).unwrap().is_none());
        assert_eq!(lists.names().unwrap(), ["h:1/a/b:1"]);
        assert!(lists.remove(&name).unwrap());
        assert!(!lists.remove(&name).unwrap());
    }
}
