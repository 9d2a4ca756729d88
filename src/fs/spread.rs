//! Where a file system puts the content of new directories.

use std::fs::File;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Asks the file system to put each directory that is made in `dir` far from the
/// others, as ext4 does for what carries its "top of a hierarchy" mark (chattr(1), `T`).
///
/// Otherwise ext4 makes a new directory beside the last ones, and there it walks
/// over every inode that was removed within the last minute before it finds one to
/// give: after a large layer was removed, making the files of the next one takes
/// fifteen times as long. Only speed depends on it, so a file system that does not
/// know the mark is left alone.
pub fn spread_children(dir: &Path) {
    let Ok(dir) = File::open(dir) else { return };
    if let Ok(flags) = ioctl_getflags(&dir)
        && !flags.contains(IFlags::TOPDIR)
    {
        // A refusal changes nothing.
        let _unchanged = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gets_the_mark_or_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let flags = || ioctl_getflags(File::open(dir.path()).unwrap());
        let Ok(before) = flags() else {
            return spread_children(dir.path());
        };
        spread_children(dir.path());
        let after = flags().unwrap();
        assert_eq!(after.difference(IFlags::TOPDIR), before);
        spread_children(dir.path());
        assert_eq!(flags().unwrap(), after);
    }

    #[test]
    fn a_missing_directory_is_no_error() {
        spread_children(Path::new("/nonexistent/at/all"));
    }
}
