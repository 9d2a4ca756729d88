//! Which cache is used, and where it goes.

use rbuild::build::{BuildRequest, CacheCompression, CachePlace, CacheSource, CacheTarget};
use rbuild::engine::Config;

use super::cache_options::Options;
use crate::cli::human;
use crate::cli::report::Failure;

/// BuildKit's way to ask for a cache in the image.
const INLINE_ARGUMENT: &str = "BUILDKIT_INLINE_CACHE";

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Caching {
    /// Look for results here too: IMAGE, type=registry,ref=IMAGE or type=local,src=DIR
    #[arg(long, value_name = "SOURCE")]
    cache_from: Vec<String>,
    /// Put results here: type=registry,ref=IMAGE[,mode=min|max], type=inline or type=local,dest=DIR
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
            build.cache_from.extend(sources(text, config)?);
        }
        for text in self.cache_to.iter().filter(|text| !text.is_empty()) {
            for target in targets(text, config)? {
                match target {
                    Some(target) => build.cache_to.push(target),
                    None => build.inline_cache = true,
                }
            }
        }
        let inline = build.build_args.get(INLINE_ARGUMENT);
        build.inline_cache |= inline.is_some_and(|text| matches!(text.as_str(), "1" | "true"));
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

fn sources(text: &str, config: &Config) -> Result<Vec<CacheSource>, Failure> {
    let options = Options::read("--cache-from", text)?.into_iter();
    options.map(|options| source(options, config)).collect()
}

fn source(mut options: Options, config: &Config) -> Result<CacheSource, Failure> {
    let place = match options.kind() {
        "local" => {
            // Which of several caches in one directory: records of all builds lie
            // side by side here, each under its own key.
            options.pass_over(&["tag", "digest"]);
            options.directory("src", config)?
        }
        "registry" => CachePlace::Registry(options.registry()?),
        "s3" => CachePlace::S3(Box::new(options.s3(config)?)),
        _ => return Err(options.refuse_kind()),
    };
    options.end()?;
    Ok(CacheSource { place })
}

/// Targets; nothing stands for the image itself.
fn targets(text: &str, config: &Config) -> Result<Vec<Option<CacheTarget>>, Failure> {
    let options = Options::read("--cache-to", text)?.into_iter();
    options.map(|options| target(options, config)).collect()
}

fn target(mut options: Options, config: &Config) -> Result<Option<CacheTarget>, Failure> {
    let target = match options.kind() {
        "inline" => {
            options.pass_over_common();
            None
        }
        "local" => Some(local(&mut options, config)?),
        "registry" => Some(registry(&mut options)?),
        "s3" => Some(s3(&mut options, config)?),
        _ => return Err(options.refuse_kind()),
    };
    options.end()?;
    Ok(target)
}

fn local(options: &mut Options, config: &Config) -> Result<CacheTarget, Failure> {
    let mut target = CacheTarget::new(options.directory("dest", config)?);
    options.common(&mut target)?;
    target.reset = options.switch("reset")?.unwrap_or(target.reset);
    options.pass_over(&["tag", "oci-mediatypes", "image-manifest"]);
    Ok(target)
}

fn registry(options: &mut Options) -> Result<CacheTarget, Failure> {
    let cache = options.registry()?;
    if cache.reference.digest().is_some() {
        return Err(options.wrong("`ref` must be a tag, not a digest"));
    }
    let docker_types = cache.docker_types;
    let mut target = CacheTarget::new(CachePlace::Registry(cache));
    options.common(&mut target)?;
    if docker_types && matches!(target.compression, CacheCompression::Zstd(_)) {
        return Err(options.wrong("compression=zstd requires oci-mediatypes=true"));
    }
    // It always is one.
    options.pass_over(&["image-manifest"]);
    Ok(target)
}

fn s3(options: &mut Options, config: &Config) -> Result<CacheTarget, Failure> {
    let mut target = CacheTarget::new(CachePlace::S3(Box::new(options.s3(config)?)));
    options.common(&mut target)?;
    options.pass_over(&["oci-mediatypes", "image-manifest"]);
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rbuild::build::{CacheMode, CacheMounts, RegistryCache};

    use super::*;

    fn config() -> Config {
        Config::new(None, None, BTreeMap::new(), "/here".into())
    }

    fn written(text: &str) -> CacheTarget {
        let mut targets = targets(text, &config()).unwrap();
        assert_eq!(targets.len(), 1, "{text}");
        targets.remove(0).unwrap()
    }

    fn named(name: &str) -> RegistryCache {
        RegistryCache {
            reference: name.parse().unwrap(),
            insecure: false,
            docker_types: false,
        }
    }

    #[test]
    fn directories_are_sources_and_targets() {
        let read = sources("type=local,src=dir,tag=x", &config()).unwrap();
        assert_eq!(read[0].place, CachePlace::Local("/here/dir".into()));
        let text = "type=local,dest=/d,mode=max,compression=gzip,compression-level=1,reset=1,\
                    ignore-error=false,\"mounts=a,b\",mounts=c,mounts-max=1g";
        let target = written(text);
        assert_eq!(target.place, CachePlace::Local("/d".into()));
        assert_eq!(target.mode, CacheMode::Max);
        assert_eq!(target.compression, CacheCompression::Gzip(1));
        assert!(target.reset && !target.ignore_error);
        let ids = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(target.mounts, CacheMounts::Named(ids));
        assert_eq!(target.mounts_max, Some(1 << 30));
        let plain = written("type=local,dest=/d");
        assert_eq!(plain, CacheTarget::new(CachePlace::Local("/d".into())));
    }

    #[test]
    fn names_are_sources_and_targets() {
        let place = |text: &str| {
            let read = sources(text, &config()).unwrap().into_iter();
            read.map(|source| source.place).collect::<Vec<_>>()
        };
        let app = CachePlace::Registry(named("user/app:cache"));
        assert_eq!(place("user/app:cache"), std::slice::from_ref(&app));
        assert_eq!(
            place("user/app:cache,b"),
            [app.clone(), CachePlace::Registry(named("b"))]
        );
        assert_eq!(place("type=registry,ref=user/app:cache"), [app]);
        let target = written(
            "type=registry,ref=localhost:5/a:b,mode=max,image-manifest=true,oci-mediatypes=false,\
             registry.insecure=true,force-compression=true,compression-level=9",
        );
        let cache = RegistryCache {
            insecure: true,
            docker_types: true,
            ..named("localhost:5/a:b")
        };
        assert_eq!(target.place, CachePlace::Registry(cache));
        assert_eq!(target.compression, CacheCompression::Gzip(9));
        assert!(target.force_compression && !target.ignore_error);
        assert_eq!(written("a/b").place, CachePlace::Registry(named("a/b")));
    }

    #[test]
    fn an_image_takes_its_cache_with_it() {
        assert_eq!(targets("type=inline", &config()).unwrap(), [None]);
        assert_eq!(targets("type=inline,mode=min", &config()).unwrap(), [None]);
    }

    #[test]
    fn buckets_are_sources_and_targets() {
        let text = "type=s3,bucket=b,region=r,prefix=p/,name=main;branch,use_path_style=true,\
                    endpoint_url=http://localhost:9000,access_key_id=k,secret_access_key=hush,\
                    session_token=t,touch_refresh=2h,upload_parallelism=2";
        let target = written(&format!("{text},mode=max,ignore-error=true"));
        let CachePlace::S3(cache) = &target.place else {
            unreachable!("{target:?}");
        };
        assert_eq!(cache.names, ["main", "branch"]);
        assert_eq!(
            (cache.prefix.as_str(), cache.blobs_prefix.as_str()),
            ("p/", "blobs/")
        );
        assert_eq!(
            (cache.touch_refresh_seconds, cache.upload_parallelism),
            (7200, 2)
        );
        assert_eq!(cache.use_path_style, Some(true));
        assert_eq!(cache.secret_access_key.as_deref(), Some("hush"));
        assert!(target.mode == CacheMode::Max && target.ignore_error);
        assert_eq!(target.place.to_string(), "s3://b/p/");
        let read = sources(text, &config()).unwrap();
        assert_eq!(read[0].place, target.place);
        // What is wrong is told without the secret.
        let text = format!("{text},nonsense");
        let failure = format!("{:?}", sources(&text, &config()).unwrap_err());
        assert!(
            failure.contains("nonsense") && !failure.contains("hush"),
            "{failure}"
        );
    }

    #[test]
    fn other_caches_and_nonsense_are_refused() {
        for (text, part) in [
            ("type=registry", "requires `ref`"),
            ("type=registry,ref=A", "reference"),
            ("type=registry,ref=x,dest=y", "unknown option"),
            (
                "type=registry,ref=x,oci-mediatypes=false,compression=zstd",
                "oci-mediatypes",
            ),
            ("type=s3,bucket=b", "requires `region`"),
            ("type=s3,region=b", "requires `bucket`"),
            ("type=s3,bucket=b,region=r,access_key_id=a", "go together"),
            ("type=s3,bucket=b,region=r,touch_refresh=1", "touch_refresh"),
            (
                "type=s3,bucket=b,region=r,upload_parallelism=0",
                "upload_parallelism",
            ),
            ("type=gha", "type=gha"),
            ("type=azblob,name=x", "type=azblob"),
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
            let failure = targets(text, &config()).unwrap_err();
            let message = format!("{failure:?}");
            assert!(message.contains(part), "{text}: {message}");
        }
        let failure = sources("type=inline", &config()).unwrap_err();
        assert!(format!("{failure:?}").contains("a target alone"));
    }
}
