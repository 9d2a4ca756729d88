//! Arguments: automatic ones, those before the first `FROM`, and those of a stage.

use super::error::PlanError;
use super::scope::Variables;
use super::stage::StageState;
use super::{Planner, Request};
use crate::dockerfile::{self, Arg};
use crate::oci::Platform;

/// Proxy settings that every RUN gets without an `ARG`, outside the cache key.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The global scope: automatic platform arguments, then the global `ARG`s.
/// `--build-arg` overrides both.
pub(super) fn globals(request: &Request<'_>) -> Result<Vec<(String, String)>, PlanError> {
    let mut scope = Variables::new();
    for (name, value) in automatic(request) {
        let value = request.build_args.get(&name).cloned().unwrap_or(value);
        scope.set(&name, &value);
    }
    for arg in request
        .dockerfile
        .global_args
        .iter()
        .flat_map(|line| &line.value)
    {
        if let (name, Some(value)) = expand_arg(request, arg, &scope)? {
            scope.set(&name, &value);
        }
    }
    Ok(scope.to_pairs())
}

fn automatic(request: &Request<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut platform = |prefix: &str, platform: &Platform| {
        let mut add =
            |name: &str, value: &str| pairs.push((format!("{prefix}{name}"), value.to_owned()));
        add("PLATFORM", &platform.to_string());
        add("OS", &platform.os);
        add(
            "OSVERSION",
            platform.os_version.as_deref().unwrap_or_default(),
        );
        add("ARCH", &platform.architecture);
        add("VARIANT", platform.variant.as_deref().unwrap_or_default());
    };
    platform("TARGET", request.platform);
    platform("BUILD", &Platform::host());
    let stage = request.target.map(str::to_lowercase).or_else(|| {
        let last = request.dockerfile.stages.last()?;
        Some(last.from.value.name.as_ref()?.text.to_lowercase())
    });
    pairs.push((
        "TARGETSTAGE".to_owned(),
        stage.unwrap_or_else(|| "default".to_owned()),
    ));
    pairs
}

/// The proxy settings among the build arguments. One that is given in either
/// letter case is there in both: programs differ in which they read.
pub(super) fn proxies(request: &Request<'_>) -> Vec<(String, String)> {
    let args = request.build_args;
    let value = |name: &str| {
        let own = args.get(name);
        own.or_else(|| args.get(&name.to_uppercase()))
            .or_else(|| args.get(&name.to_lowercase()))
    };
    let given = |name: &&str| Some(((*name).to_owned(), value(name)?.clone()));
    PROXIES.iter().filter_map(given).collect()
}

/// The name of an argument, and the value that `--build-arg` or else its own
/// default gives it. A default that is not needed is not looked at, so it may fail.
fn expand_arg(
    request: &Request<'_>,
    arg: &Arg,
    scope: &Variables,
) -> Result<(String, Option<String>), PlanError> {
    let escape = request.dockerfile.escape.unwrap_or('\\');
    let expand = |word: &dockerfile::Word| {
        dockerfile::expand(&word.text, escape, scope)
            .map(|expanded| expanded.text)
            .map_err(|err| PlanError::expand(word.span, &err))
    };
    let name = expand(&arg.name)?;
    if let Some(given) = request.build_args.get(&name) {
        return Ok((name, Some(given.clone())));
    }
    let default = arg.default.as_ref().map(expand).transpose()?;
    Ok((name, default))
}

impl Planner<'_, '_> {
    /// `ARG` in a stage: `--build-arg`, else the default here, else the global value.
    pub(super) fn arg(&self, stage: &mut StageState, args: &[Arg]) -> Result<(), PlanError> {
        let mut text = "ARG".to_owned();
        for arg in args {
            let (name, value) = expand_arg(self.request, arg, &stage.scope)?;
            let global = || {
                let found = self.globals.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| value.clone())
            };
            let value = value.or_else(global);
            text.push_str(&format!(" {name}"));
            if let Some(value) = &value {
                text.push_str(&format!("={value}"));
                stage.scope.set(&name, value);
            }
            stage.args.retain(|(own, _)| *own != name);
            stage.args.push((name, value));
        }
        stage.record(text, None);
        Ok(())
    }
}
