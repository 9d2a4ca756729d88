//! Temporary files that tell whose they are, so that what a killed process left
//! can be removed while others work.

use std::ffi::OsStr;

use tempfile::{Builder, NamedTempFile, TempDir};

use super::{Error, Process, Store};
use crate::fs::{At, remove_tree};

impl Store {
    /// Makes a temporary file on the data root's file system; dropping it removes it.
    pub fn temp_file(&self) -> Result<NamedTempFile, Error> {
        let dir = self.paths().tmp();
        Ok(Builder::new()
            .prefix(&prefix(self.process))
            .tempfile_in(&dir)
            .at("create a temporary file in", &dir)?)
    }

    /// Makes a temporary directory on the data root's file system; dropping it removes it.
    pub fn temp_dir(&self) -> Result<TempDir, Error> {
        let dir = self.paths().tmp();
        Ok(Builder::new()
            .prefix(&prefix(self.process))
            .tempdir_in(&dir)
            .at("create a temporary directory in", &dir)?)
    }

    /// Removes the temporary files of dead processes, and beginnings of blobs that
    /// nobody went on with; returns the bytes freed, counting plain files only.
    pub fn temp_sweep(&self) -> Result<u64, Error> {
        let dir = self.paths().tmp();
        let mut freed = self.partial_sweep()?;
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            if owner(&entry.file_name()).is_some_and(Process::is_alive) {
                continue;
            }
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                freed += metadata.len();
            }
            remove_tree(&entry.path())?;
        }
        Ok(freed)
    }
}

fn prefix(process: Process) -> String {
    format!("{}.{}.", process.pid, process.started)
}

fn owner(name: &OsStr) -> Option<Process> {
    let mut parts = name.to_str()?.splitn(3, '.');
    Some(Process {
        pid: parts.next()?.parse().ok()?,
        started: parts.next()?.parse().ok()?,
    })
}
