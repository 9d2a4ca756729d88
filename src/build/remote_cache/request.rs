//! Where a cache is read from and written to, as a build is asked for it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::oci::Reference;

/// Where a cache lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A directory of this machine.
    Local(PathBuf),
    /// A tag in a registry; as a source also an image with a cache in it.
    Registry(RegistryCache),
    /// A bucket of S3.
    S3(Box<S3Cache>),
}

/// A cache in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryCache {
    /// Its name.
    pub reference: Reference,
    /// Whether the registry's certificate is not looked at.
    pub insecure: bool,
    /// Whether Docker's media types are written instead of OCI's.
    pub docker_types: bool,
}

/// A cache in a bucket of S3. Its `Debug` form has no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Cache {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// What every key begins with.
    pub prefix: String,
    /// What the keys of blobs go on with.
    pub blobs_prefix: String,
    /// What the keys of lists of records go on with.
    pub manifests_prefix: String,
    /// The names of the lists.
    pub names: Vec<String>,
    /// The server, where it is not AWS' own.
    pub endpoint_url: Option<String>,
    /// Whether the bucket is part of the path and not of the host; as the server
    /// needs it when nothing is said.
    pub use_path_style: Option<bool>,
    /// Who we are.
    pub access_key_id: Option<String>,
    /// How we prove it.
    pub secret_access_key: Option<String>,
    /// What goes with keys that are lent.
    pub session_token: Option<String>,
    /// How old a blob may be, in seconds, that is used and not written anew.
    pub touch_refresh_seconds: i64,
    /// Most layers that are sent at once.
    pub upload_parallelism: usize,
    /// Names proxies, certificates, and AWS' own variables.
    pub environment: BTreeMap<String, String>,
}

impl S3Cache {
    /// A cache with every default.
    pub fn new(bucket: String, region: String) -> Self {
        Self {
            bucket,
            region,
            prefix: String::new(),
            blobs_prefix: "blobs/".to_owned(),
            manifests_prefix: "manifests/".to_owned(),
            // Not BuildKit's, so that both may use one bucket.
            names: vec!["rbuild".to_owned()],
            endpoint_url: None,
            use_path_style: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            touch_refresh_seconds: 24 * 60 * 60,
            upload_parallelism: 4,
            environment: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for S3Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Cache")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("names", &self.names)
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(dir) => write!(f, "{}", dir.display()),
            Self::Registry(cache) => write!(f, "{}", cache.reference),
            Self::S3(cache) => write!(f, "s3://{}/{}", cache.bucket, cache.prefix),
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
    /// Whether those that are there in another form are compressed anew.
    pub force_compression: bool,
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
    /// An export with every default: what is in a registry is compressed as images
    /// there are, so that both share their layers.
    pub fn new(place: CachePlace) -> Self {
        let is_local = matches!(place, CachePlace::Local(_));
        let compression = match &place {
            CachePlace::Registry(_) => CacheCompression::Gzip(6),
            CachePlace::Local(_) | CachePlace::S3(_) => CacheCompression::Zstd(3),
        };
        Self {
            place,
            mode: CacheMode::Min,
            compression,
            force_compression: false,
            reset: false,
            ignore_error: is_local,
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
