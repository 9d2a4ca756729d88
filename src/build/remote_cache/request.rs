//! Where a cache is read from and written to, as a build is asked for it.

use std::fmt;
use std::path::PathBuf;

/// Where a cache lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A directory of this machine.
    Local(PathBuf),
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(dir) => write!(f, "{}", dir.display()),
        }
    }
}

/// `--cache-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSource {
    /// Where it lies.
    pub place: CachePlace,
}

/// Which steps are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers the image has.
    Min,
    /// Every one.
    Max,
}

/// How exported layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheCompression {
    /// Not at all.
    None,
    /// gzip, with a level from 0 to 9.
    Gzip(u32),
    /// Zstandard, with a level from 1 to 22.
    Zstd(i32),
}

/// `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    /// Where it goes.
    pub place: CachePlace,
    /// Which steps.
    pub mode: CacheMode,
    /// How layers are compressed that are not there yet.
    pub compression: CacheCompression,
    /// Whether everything is removed there that this export does not name.
    pub reset: bool,
    /// Whether the build succeeds although the export fails.
    pub ignore_error: bool,
    /// The cache mounts that go with it.
    pub mounts: CacheMounts,
    /// Most bytes of a cache mount that are exported; larger ones stay behind.
    pub mounts_max: Option<u64>,
}

impl CacheTarget {
    /// An export with every default.
    pub fn new(place: CachePlace) -> Self {
        Self {
            place,
            mode: CacheMode::Min,
            compression: CacheCompression::Zstd(3),
            reset: false,
            ignore_error: true,
            mounts: CacheMounts::None,
            mounts_max: None,
        }
    }
}

/// Which cache mounts are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheMounts {
    /// None.
    None,
    /// Those with these ids.
    Named(Vec<String>),
    /// All that the build has.
    All,
}
