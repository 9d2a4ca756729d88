//! The text of one `--cache-from` or `--cache-to`.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild::build::{
    CacheCompression, CacheMode, CacheMounts, CachePlace, CacheTarget, RegistryCache, S3Cache,
    s3_region,
};
use rbuild::dockerfile::csv_fields;
use rbuild::engine::Config;
use rbuild::oci::Reference;

use super::later::unavailable;
use crate::cli::commands::filters;
use crate::cli::human;
use crate::cli::report::Failure;

/// What every kind of target takes beside the options of its own.
const COMMON: [&str; 7] = [
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "ignore-error",
    "mounts",
    "mounts-max",
];

/// The options, each taken out once read.
#[derive(Debug)]
pub(super) struct Options {
    flag: &'static str,
    kind: String,
    values: BTreeMap<String, Vec<String>>,
}

impl Options {
    /// Reads a text: options, or else names of images alone, which are caches in
    /// registries.
    pub(super) fn read(flag: &'static str, text: &str) -> Result<Vec<Self>, Failure> {
        let shown = without_secrets(text);
        let wrong =
            |why: String| Failure::new(1, format!("invalid argument {shown:?} for {flag}: {why}"));
        let fields = csv_fields(text).map_err(wrong)?;
        if fields.iter().all(|field| !field.contains('=')) {
            let named = |name: &String| Self {
                flag,
                kind: "registry".to_owned(),
                values: [("ref".to_owned(), vec![name.clone()])].into(),
            };
            return Ok(fields.iter().map(named).collect());
        }
        let mut options = Self {
            flag,
            kind: String::new(),
            values: BTreeMap::new(),
        };
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| wrong(format!("invalid value {}", without_secrets(field))))?;
            let key = key.trim().to_lowercase();
            if key == "type" {
                value.clone_into(&mut options.kind);
            } else {
                let values = options.values.entry(key).or_default();
                values.push(value.to_owned());
            }
        }
        if options.kind.is_empty() {
            return Err(wrong(format!("type required form> {shown:?}")));
        }
        Ok(vec![options])
    }

    /// `type`.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// The failure for a type that cannot be used with this flag.
    pub(super) fn refuse_kind(&self) -> Failure {
        let kind = &self.kind;
        match kind.as_str() {
            "gha" | "azblob" => {
                let what = format!("{} type={kind}", self.flag);
                unavailable(&what).with_hint("use `registry`, `inline`, `s3` or `local`")
            }
            "inline" => self
                .wrong("type=inline is a target alone")
                .with_hint("an image with a cache in it is read with `type=registry,ref=IMAGE`"),
            _ => self.wrong(&format!("unknown cache type {kind:?}")),
        }
    }

    /// A failure that names the flag.
    pub(super) fn wrong(&self, why: &str) -> Failure {
        Failure::new(1, format!("{}: {why}", self.flag))
    }

    fn all(&mut self, key: &str) -> Vec<String> {
        self.values.remove(key).unwrap_or_default()
    }

    /// The last value of an option that is not empty.
    pub(super) fn last(&mut self, key: &str) -> Option<String> {
        self.all(key).pop().filter(|value| !value.is_empty())
    }

    /// An option that must be there.
    pub(super) fn required(&mut self, key: &str) -> Result<String, Failure> {
        self.last(key)
            .ok_or_else(|| self.wrong(&format!("type={} requires `{key}`", self.kind)))
    }

    /// A truth value.
    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.last(key) else {
            return Ok(None);
        };
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(self.wrong(&format!("non-bool value for {key}: {text:?}"))),
        }
    }

    /// Takes options that mean nothing here.
    pub(super) fn pass_over(&mut self, keys: &[&str]) {
        for key in keys {
            self.all(key);
        }
    }

    /// Everything must have been read by now.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(&format!("unknown option {key:?} of type={}", self.kind))),
        }
    }

    /// The directory of a local cache.
    pub(super) fn directory(&mut self, key: &str, config: &Config) -> Result<CachePlace, Failure> {
        let dir = self.required(key)?;
        Ok(CachePlace::Local(
            config.working_directory.join(Path::new(&dir)),
        ))
    }

    /// The name of a cache in a registry.
    pub(super) fn registry(&mut self) -> Result<RegistryCache, Failure> {
        let text = self.required("ref")?;
        let reference = text
            .parse::<Reference>()
            .map_err(|err| self.wrong(&err.to_string()))?;
        Ok(RegistryCache {
            reference,
            insecure: self.switch("registry.insecure")?.unwrap_or(false),
            docker_types: !self.switch("oci-mediatypes")?.unwrap_or(true),
        })
    }

    /// A bucket of S3.
    pub(super) fn s3(&mut self, config: &Config) -> Result<S3Cache, Failure> {
        let environment = &config.environment;
        let bucket = match environment
            .get("AWS_BUCKET")
            .filter(|name| !name.is_empty())
        {
            Some(name) => self.last("bucket").unwrap_or_else(|| name.clone()),
            None => self.required("bucket")?,
        };
        let region = self.last("region").or_else(|| s3_region(environment));
        let region = region.ok_or_else(|| self.wrong("type=s3 requires `region`"))?;
        let mut cache = S3Cache::new(bucket, region);
        for (key, value) in [
            ("prefix", &mut cache.prefix),
            ("blobs_prefix", &mut cache.blobs_prefix),
            ("manifests_prefix", &mut cache.manifests_prefix),
        ] {
            *value = self.last(key).unwrap_or_else(|| std::mem::take(value));
        }
        if let Some(names) = self.last("name") {
            let names = names.split(';').filter(|name| !name.is_empty());
            cache.names = names.map(str::to_owned).collect();
        }
        cache.endpoint_url = self.last("endpoint_url");
        cache.use_path_style = self.switch("use_path_style")?;
        cache.access_key_id = self.last("access_key_id");
        cache.secret_access_key = self.last("secret_access_key");
        cache.session_token = self.last("session_token");
        if cache.access_key_id.is_some() != cache.secret_access_key.is_some() {
            let why = "access_key_id and secret_access_key go together";
            return Err(self.wrong(why));
        }
        if let Some(text) = self.last("touch_refresh") {
            let wrong = || self.wrong(&format!("invalid touch_refresh {text:?}"));
            let span = filters::go_duration(&text).ok_or_else(wrong)?;
            cache.touch_refresh_seconds = span.as_secs();
        }
        if let Some(text) = self.last("upload_parallelism") {
            let number = text.parse().ok().filter(|number| (1..=64).contains(number));
            let wrong = || self.wrong(&format!("invalid upload_parallelism {text:?}"));
            cache.upload_parallelism = number.ok_or_else(wrong)?;
        }
        // Requests are repeated as it is best here.
        self.pass_over(&["retry_mode", "retry_max_attempts"]);
        cache.environment.clone_from(environment);
        Ok(cache)
    }

    /// What every target takes.
    pub(super) fn common(&mut self, target: &mut CacheTarget) -> Result<(), Failure> {
        target.mode = match self.last("mode").as_deref() {
            None | Some("min") => CacheMode::Min,
            Some("max") => CacheMode::Max,
            Some(other) => return Err(self.wrong(&format!("invalid mode {other:?}"))),
        };
        target.compression = self.compression(target.compression)?;
        target.force_compression = self.switch("force-compression")?.unwrap_or(false);
        let ignore = self.switch("ignore-error")?;
        target.ignore_error = ignore.unwrap_or(target.ignore_error);
        target.mounts = mounts(&self.all("mounts"));
        target.mounts_max = match self.last("mounts-max") {
            Some(size) => Some(human::parse_size(&size).map_err(|why| self.wrong(&why))?),
            None => None,
        };
        Ok(())
    }

    /// Takes what every target takes, where it means nothing.
    pub(super) fn pass_over_common(&mut self) {
        self.pass_over(&COMMON);
    }

    fn compression(&mut self, usual: CacheCompression) -> Result<CacheCompression, Failure> {
        let level = match self.last("compression-level") {
            Some(text) => Some(
                text.parse::<u8>()
                    .map_err(|_| self.wrong(&format!("invalid compression-level {text:?}")))?,
            ),
            None => None,
        };
        let kind = self.last("compression");
        let kind = kind.as_deref().unwrap_or(match usual {
            CacheCompression::None => "uncompressed",
            CacheCompression::Gzip(_) => "gzip",
            CacheCompression::Zstd(_) => "zstd",
        });
        Ok(match kind {
            "uncompressed" => CacheCompression::None,
            "gzip" => CacheCompression::Gzip(level.map_or(6, u32::from).min(9)),
            "zstd" => CacheCompression::Zstd(level.map_or(3, i32::from).clamp(1, 22)),
            "estargz" => return Err(unavailable("compression=estargz")),
            other => return Err(self.wrong(&format!("unsupported compression type {other:?}"))),
        })
    }
}

/// The text for a message: what follows a name that has a secret is left out.
fn without_secrets(text: &str) -> String {
    let secret = ["secret_access_key", "session_token", "access_key_id"];
    let found = secret.iter().filter_map(|name| text.find(name)).min();
    match found {
        None => text.to_owned(),
        Some(at) => format!("{}***", &text[..at]),
    }
}

/// `mounts=all`, or ids, which may have commas between them in a quoted field.
fn mounts(texts: &[String]) -> CacheMounts {
    let ids: Vec<String> = texts
        .iter()
        .flat_map(|text| text.split(','))
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect();
    if ids.is_empty() {
        CacheMounts::None
    } else if ids.iter().any(|id| id == "all") {
        CacheMounts::All
    } else {
        CacheMounts::Named(ids)
    }
}
