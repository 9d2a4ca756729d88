//! Which cache is used, and where it goes.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild::build::{
    BuildRequest, CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget,
};
use rbuild::dockerfile::csv_fields;
use rbuild::engine::Config;

use super::later::unavailable;
use crate::cli::human;
use crate::cli::report::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Caching {
    /// Look for results here too: type=local,src=DIR
    #[arg(long, value_name = "SOURCE")]
    cache_from: Vec<String>,
    /// Put results here: type=local,dest=DIR[,mode=min|max]
    #[arg(long, value_name = "TARGET")]
    cache_to: Vec<String>,
    /// Run every step of these stages
    #[arg(long, value_name = "STAGES", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Most space of the build cache, while the build runs too [env: RBUILD_CACHE_MAX]
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    cache_max_size: Option<u64>,
}

impl Caching {
    /// Puts what was asked for into the request.
    pub(super) fn apply(&self, build: &mut BuildRequest, config: &Config) -> Result<(), Failure> {
        for text in self.cache_from.iter().filter(|text| !text.is_empty()) {
            build.cache_from.push(source(text, config)?);
        }
        for text in self.cache_to.iter().filter(|text| !text.is_empty()) {
            build.cache_to.push(target(text, config)?);
        }
        let stages = self.no_cache_filter.iter();
        build.no_cache_filter = stages.map(|stage| stage.trim().to_owned()).collect();
        build.cache_max = match self.cache_max_size {
            Some(bytes) => Some(bytes),
            None => limit_of_environment(config)?,
        };
        Ok(())
    }
}

/// `RBUILD_CACHE_MAX`.
fn limit_of_environment(config: &Config) -> Result<Option<u64>, Failure> {
    match config.environment.get("RBUILD_CACHE_MAX") {
        Some(text) if !text.is_empty() => human::parse_size(text)
            .map(Some)
            .map_err(|why| Failure::new(1, format!("RBUILD_CACHE_MAX: {why}"))),
        _ => Ok(None),
    }
}

/// The options of one `--cache-from` or `--cache-to`, each taken out once read.
struct Options {
    flag: &'static str,
    kind: String,
    values: BTreeMap<String, Vec<String>>,
}

impl Options {
    fn read(flag: &'static str, text: &str) -> Result<Self, Failure> {
        let wrong =
            |why: String| Failure::new(1, format!("invalid argument {text:?} for {flag}: {why}"));
        let fields = csv_fields(text).map_err(wrong)?;
        let mut options = Self {
            flag,
            kind: String::new(),
            values: BTreeMap::new(),
        };
        // A reference alone is one of a registry.
        if fields.iter().all(|field| !field.contains('=')) {
            "registry".clone_into(&mut options.kind);
            return Ok(options);
        }
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| wrong(format!("invalid value {field}")))?;
            let key = key.trim().to_lowercase();
            if key == "type" {
                value.clone_into(&mut options.kind);
            } else {
                let values = options.values.entry(key).or_default();
                values.push(value.to_owned());
            }
        }
        if options.kind.is_empty() {
            return Err(wrong(format!("type required form> {text:?}")));
        }
        Ok(options)
    }

    /// Only directories can be read and written yet.
    fn need_local(&self) -> Result<(), Failure> {
        match self.kind.as_str() {
            "local" => Ok(()),
            known @ ("registry" | "inline" | "gha" | "s3" | "azblob") => {
                let what = format!("{} type={known}", self.flag);
                Err(unavailable(&what).with_hint("use `type=local` with a directory"))
            }
            other => Err(self.wrong(&format!("unknown cache type {other:?}"))),
        }
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::new(1, format!("{}: {why}", self.flag))
    }

    fn all(&mut self, key: &str) -> Vec<String> {
        self.values.remove(key).unwrap_or_default()
    }

    /// The last value of an option.
    fn last(&mut self, key: &str) -> Option<String> {
        self.all(key).pop()
    }

    fn switch(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(text) = self.last(key) else {
            return Ok(None);
        };
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(self.wrong(&format!("non-bool value for {key}: {text:?}"))),
        }
    }

    fn directory(&mut self, key: &str, config: &Config) -> Result<CachePlace, Failure> {
        match self.last(key).filter(|dir| !dir.is_empty()) {
            Some(dir) => Ok(CachePlace::Local(
                config.working_directory.join(Path::new(&dir)),
            )),
            None => Err(self.wrong(&format!("type=local requires `{key}`"))),
        }
    }

    /// Everything must have been read by now.
    fn end(self) -> Result<(), Failure> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(&format!("unknown option {key:?} of type=local"))),
        }
    }
}

fn source(text: &str, config: &Config) -> Result<CacheSource, Failure> {
    let mut options = Options::read("--cache-from", text)?;
    options.need_local()?;
    let place = options.directory("src", config)?;
    // Which of several caches in one directory: records of all builds lie side by
    // side here, each under its own key.
    for key in ["tag", "digest"] {
        options.all(key);
    }
    options.end()?;
    Ok(CacheSource { place })
}

fn target(text: &str, config: &Config) -> Result<CacheTarget, Failure> {
    let mut options = Options::read("--cache-to", text)?;
    options.need_local()?;
    let mut target = CacheTarget::new(options.directory("dest", config)?);
    target.mode = match options.last("mode").as_deref() {
        None | Some("" | "min") => CacheMode::Min,
        Some("max") => CacheMode::Max,
        Some(other) => return Err(options.wrong(&format!("invalid mode {other:?}"))),
    };
    if let Some(compression) = compression(&mut options)? {
        target.compression = compression;
    }
    target.reset = options.switch("reset")?.unwrap_or(target.reset);
    target.ignore_error = options
        .switch("ignore-error")?
        .unwrap_or(target.ignore_error);
    target.mounts = mounts(options.all("mounts"));
    target.mounts_max = match options.last("mounts-max") {
        Some(size) => Some(human::parse_size(&size).map_err(|why| options.wrong(&why))?),
        None => None,
    };
    for key in [
        "tag",
        "force-compression",
        "oci-mediatypes",
        "image-manifest",
    ] {
        options.all(key);
    }
    options.end()?;
    Ok(target)
}

fn compression(options: &mut Options) -> Result<Option<CacheCompression>, Failure> {
    let level = match options.last("compression-level") {
        Some(text) => Some(
            text.parse::<u8>()
                .map_err(|_| options.wrong(&format!("invalid compression-level {text:?}")))?,
        ),
        None => None,
    };
    let kind = options.last("compression");
    Ok(match kind.as_deref() {
        None | Some("") if level.is_none() => None,
        Some("uncompressed") => Some(CacheCompression::None),
        Some("gzip") => Some(CacheCompression::Gzip(level.map_or(6, u32::from))),
        None | Some("" | "zstd") => {
            let level = level.map_or(3, i32::from).clamp(1, 22);
            Some(CacheCompression::Zstd(level))
        }
        Some("estargz") => return Err(unavailable("compression=estargz")),
        Some(other) => {
            return Err(options.wrong(&format!("unsupported compression type {other:?}")));
        }
    })
}

/// `mounts=all`, or ids, which may have commas between them in a quoted field.
fn mounts(texts: Vec<String>) -> CacheMounts {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(None, None, BTreeMap::new(), "/here".into())
    }

    #[test]
    fn directories_are_sources_and_targets() {
        let read = source("type=local,src=dir,tag=x", &config()).unwrap();
        assert_eq!(read.place, CachePlace::Local("/here/dir".into()));
        let text = "type=local,dest=/d,mode=max,compression=gzip,compression-level=1,reset=1,\
                    ignore-error=false,\"mounts=a,b\",mounts=c,mounts-max=1g";
        let written = target(text, &config()).unwrap();
        assert_eq!(written.place, CachePlace::Local("/d".into()));
        assert_eq!(written.mode, CacheMode::Max);
        assert_eq!(written.compression, CacheCompression::Gzip(1));
        assert!(written.reset && !written.ignore_error);
        let ids = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(written.mounts, CacheMounts::Named(ids));
        assert_eq!(written.mounts_max, Some(1 << 30));
        let plain = target("type=local,dest=/d", &config()).unwrap();
        assert_eq!(plain, CacheTarget::new(CachePlace::Local("/d".into())));
    }

    #[test]
    fn other_caches_and_nonsense_are_refused() {
        for (text, part) in [
            ("user/app:cache", "type=registry"),
            ("type=registry,ref=x", "type=registry"),
            ("type=s3,bucket=x", "type=s3"),
            ("type=inline", "type=inline"),
            ("type=gha", "type=gha"),
            ("type=nope,a=b", "unknown cache type"),
            ("dest=x", "type required form>"),
            ("type=local,x", "invalid value x"),
            ("type=local", "requires `dest`"),
            ("type=local,dest=", "requires `dest`"),
            ("type=local,dest=x,mode=some", "invalid mode"),
            ("type=local,dest=x,compression=lzma", "unsupported"),
            ("type=local,dest=x,compression=estargz", "estargz"),
            ("type=local,dest=x,compression-level=y", "compression-level"),
            ("type=local,dest=x,reset=maybe", "non-bool"),
            ("type=local,dest=x,mounts-max=big", "invalid size"),
            ("type=local,dest=x,nope=1", "unknown option"),
        ] {
            let failure = target(text, &config()).unwrap_err();
            let message = format!("{failure:?}");
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
