//! What was typed after `build`, to the request that it means.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild::build::{BuildRequest, ContextSource, DockerfileSource, PullPolicy, RunNetwork};
use rbuild::context::is_archive;
use rbuild::engine::{Config, Engine, Error};
use rbuild::fs::At;
use rbuild::oci::Reference;
use rbuild::sandbox::ResourceLimits;

use super::later::unavailable;
use super::{Args, contexts};
use crate::cli::progress::Mode;
use crate::cli::report::Failure;
use crate::cli::values;

/// Longest Dockerfile that is read from standard input, far beyond any real one.
const TEXT_LIMIT: u64 = 16 << 20;
/// How much of standard input decides whether it is an archive.
const HEAD: u64 = 64 << 10;

/// A build request and what it needs on disk meanwhile.
#[derive(Debug)]
pub(in crate::cli::commands) struct Request {
    /// The request.
    pub(in crate::cli::commands) build: BuildRequest,
    /// The archive from standard input; removed when dropped.
    _spool: Option<tempfile::NamedTempFile>,
}

/// How progress is shown.
pub(super) fn progress(args: &Args, config: &Config) -> Result<Mode, Failure> {
    if args.quiet {
        return Ok(Mode::Quiet);
    }
    let mode = match (args.progress, config.environment.get("BUILDKIT_PROGRESS")) {
        (Some(mode), _) => mode,
        (None, Some(name)) if !name.is_empty() => name
            .parse()
            .map_err(|err| Failure::new(1, format!("BUILDKIT_PROGRESS: {err}")))?,
        (None, _) => Mode::Auto,
    };
    Ok(mode)
}

/// Makes the request.
pub(in crate::cli::commands) fn read(
    args: &Args,
    config: &Config,
    engine: &Engine,
) -> Result<Request, Failure> {
    let Some(context) = args.context.as_deref() else {
        let message = "\"rbuild build\" requires 1 argument: the build context";
        return Err(Failure::new(1, message).with_hint("`.` is the current directory"));
    };
    let from_stdin = args.file.as_deref() == Some("-");
    if from_stdin && context == "-" {
        let message = "invalid argument: can't use stdin for both build context and dockerfile";
        return Err(Failure::new(1, message));
    }
    let (context, spool) = match context {
        "-" => standard_input(engine)?,
        text => (named_context(text, config)?, None),
    };
    let mut build = BuildRequest::new(context);
    build.dockerfile = match args.file.as_deref() {
        None => DockerfileSource::Default,
        Some("-") => DockerfileSource::Text(dockerfile_text()?),
        Some(path) if path.starts_with("http://") || path.starts_with("https://") => {
            DockerfileSource::Url(path.to_owned())
        }
        // With an archive or a repository as context, the path is one inside of it.
        Some(path) if !matches!(build.context, ContextSource::Directory(_)) => {
            DockerfileSource::Path(PathBuf::from(path))
        }
        Some(path) => DockerfileSource::Path(config.working_directory.join(path)),
    };
    build.tags = tags(&args.tag)?;
    build.build_args = args
        .build_arg
        .iter()
        .filter_map(|text| values::variable(text, &config.environment))
        .collect();
    // As BuildKit's clients do: reproducible builds set it for every tool at once.
    if let Some(epoch) = config.environment.get("SOURCE_DATE_EPOCH") {
        let name = "SOURCE_DATE_EPOCH".to_owned();
        build.build_args.entry(name).or_insert(epoch.clone());
    }
    build.target.clone_from(&args.target);
    build.labels.clone_from(&args.label);
    build.no_cache = args.no_cache;
    build.explain_cache = args.explain_cache;
    build.network = network(&args.network)?;
    for text in &args.add_host {
        build.extra_hosts.push(extra_host(text, engine)?);
    }
    if let Some(bytes) = args.shm_size {
        build.shm_bytes = bytes;
    }
    build.rlimits.clone_from(&args.ulimit);
    build.resources = resources(args)?;
    args.steps.apply(&mut build, config)?;
    args.contexts.apply(&mut build, config)?;
    args.outputs
        .apply(&mut build, config, &args.steps.allow, &args.tag)?;
    build.pull = pull(args.pull.as_deref())?;
    args.caching.apply(&mut build, config)?;
    args.failing.apply(&mut build, config)?;
    args.reporting.apply(&mut build, config)?;
    Ok(Request {
        build,
        _spool: spool,
    })
}

/// An archive is put aside on disk: it may be larger than memory. Anything else
/// is the text of a Dockerfile.
fn standard_input(
    engine: &Engine,
) -> Result<(ContextSource, Option<tempfile::NamedTempFile>), Failure> {
    let mut stdin = io::stdin().lock();
    let mut head = Vec::new();
    let name = "the standard input";
    (&mut stdin)
        .take(HEAD)
        .read_to_end(&mut head)
        .at("read", name)?;
    if !is_archive(&head) {
        (&mut stdin)
            .take(TEXT_LIMIT)
            .read_to_end(&mut head)
            .at("read", name)?;
        return Ok((ContextSource::Bytes(Arc::from(head)), None));
    }
    // The store's own way: another process' prune must leave it alone.
    let mut spool = engine.store().temp_file().map_err(Error::from)?;
    io::copy(&mut head.as_slice().chain(stdin), spool.as_file_mut()).at("write", spool.path())?;
    let path = spool.path().to_owned();
    Ok((ContextSource::TarFile(path), Some(spool)))
}

fn named_context(text: &str, config: &Config) -> Result<ContextSource, Failure> {
    let path = config.working_directory.join(text);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(ContextSource::Directory(path)),
        Ok(_) => archive_context(&path),
        Err(_) if contexts::is_remote(text) => Ok(ContextSource::Remote(text.to_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let message = format!("unable to prepare context: path \"{text}\" not found");
            let failure = Failure::new(1, message);
            Err(if text.contains(['/', '.']) {
                failure
            } else {
                failure.with_hint(format!(
                    "`{text}` is no command either; `rbuild --help` lists them"
                ))
            })
        }
        Err(err) => {
            let error = rbuild::fs::PathError {
                action: "read",
                path,
                source: err,
            };
            Err(error.into())
        }
    }
}

fn archive_context(path: &Path) -> Result<ContextSource, Failure> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD).read_to_end(&mut head))
        .at("read", path)?;
    if is_archive(&head) {
        return Ok(ContextSource::TarFile(path.to_owned()));
    }
    let message = format!(
        "unable to prepare context: `{}` is no directory and no tar archive",
        path.display()
    );
    Err(Failure::new(1, message).with_hint("name the Dockerfile with `-f`"))
}

fn dockerfile_text() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(TEXT_LIMIT)
        .read_to_string(&mut text)
        .at("read", "the Dockerfile on standard input")?;
    Ok(text)
}

fn tags(texts: &[String]) -> Result<Vec<Reference>, Failure> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in texts {
        let wrong = |why: &str| Failure::new(1, format!("invalid tag \"{text}\": {why}"));
        let tag: Reference = text
            .parse()
            .map_err(|err: rbuild::oci::ParseReferenceError| wrong(&err.to_string()))?;
        if tag.digest().is_some() {
            return Err(wrong("a name to build may not have a digest"));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// buildx' `--pull[=true|false]`, and the words of podman and buildah.
fn pull(when: Option<&str>) -> Result<PullPolicy, Failure> {
    match when {
        None | Some("false" | "0" | "missing" | "ifmissing") => Ok(PullPolicy::Missing),
        Some("true" | "1" | "always") => Ok(PullPolicy::Always),
        Some("newer" | "ifnewer") => Ok(PullPolicy::Newer),
        Some("never") => Ok(PullPolicy::Never),
        Some(other) => {
            let message = format!("invalid argument \"{other}\" for \"--pull\" flag");
            Err(Failure::new(1, message).with_hint("use `always`, `missing`, `newer` or `never`"))
        }
    }
}

fn network(mode: &str) -> Result<RunNetwork, Failure> {
    match mode {
        "" | "default" | "bridge" => Ok(RunNetwork::Default),
        "none" => Ok(RunNetwork::None),
        "host" => Ok(RunNetwork::Host),
        other => {
            Err(unavailable(&format!("--network {other}"))
                .with_hint("use `default`, `none` or `host`"))
        }
    }
}

/// `host-gateway` is the address of the default bridge.
fn extra_host(text: &str, engine: &Engine) -> Result<(String, std::net::IpAddr), Failure> {
    let gateway = text
        .strip_suffix("host-gateway")
        .and_then(|name| name.strip_suffix([':', '=']));
    match gateway {
        Some(name) => Ok((name.to_owned(), engine.default_gateway()?.into())),
        None => values::host(text).map_err(|why| Failure::new(1, why)),
    }
}

fn resources(args: &Args) -> Result<ResourceLimits, Failure> {
    /// Docker's floor: less does not start a program.
    const MEMORY_FLOOR: u64 = 6 << 20;
    if args.memory.is_some_and(|bytes| bytes < MEMORY_FLOOR) {
        return Err(Failure::new(1, "Minimum memory limit allowed is 6MB"));
    }
    if args.cpu_period == 0 {
        return Err(Failure::new(1, "the CPU period may not be 0"));
    }
    let nano_cpus = |quota: u64| {
        let share = u128::from(quota) * 1_000_000_000 / u128::from(args.cpu_period);
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    Ok(ResourceLimits {
        memory_bytes: args.memory,
        nano_cpus: args.cpu_quota.map(nano_cpus),
        ..ResourceLimits::default()
    })
}
