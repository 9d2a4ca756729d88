//! Arguments: automatic ones, those before the first `FROM`, and those of a stage.

use std::collections::BTreeMap;

use super::error::PlanError;
use super::outline::OutlineArg;
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
pub(super) fn globals(request: &Request<'_>) -> Result<Variables, PlanError> {
    globals_with(request, request.build_args)
}

/// The global scope as it is when nothing is given for the global `ARG`s.
pub(super) fn default_globals(request: &Request<'_>) -> Result<Variables, PlanError> {
    globals_with(request, &BTreeMap::new())
}

fn globals_with(
    request: &Request<'_>,
    build_args: &BTreeMap<String, String>,
) -> Result<Variables, PlanError> {
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
        let given = expand_arg(request, build_args, arg, &scope)?;
        if let Some(value) = given.value {
            scope.set(&given.name, &value);
        }
    }
    Ok(scope)
}

/// The global `ARG`s by name, and which of them stand in whose default.
pub(super) fn outline(request: &Request<'_>) -> (BTreeMap<String, OutlineArg>, Uses) {
    let mut scope = Variables::new();
    for (name, value) in automatic(request) {
        let value = request.build_args.get(&name).cloned().unwrap_or(value);
        scope.set(&name, &value);
    }
    let mut args = BTreeMap::new();
    let mut uses = Uses::new();
    for line in &request.dockerfile.global_args {
        for arg in &line.value {
            let Ok(given) = expand_arg(request, request.build_args, arg, &scope) else {
                continue;
            };
            let value = given.value.unwrap_or_default();
            scope.set(&given.name, &value);
            // One that is put together from its own old value has its uses, too.
            let old = given.used.contains(&given.name);
            let old = uses.remove(&given.name).filter(|_| old).unwrap_or_default();
            let names = given.used.into_iter().chain(old);
            let names = names.filter(|name| *name != given.name).collect();
            uses.insert(given.name.clone(), names);
            let outlined = OutlineArg {
                name: given.name.clone(),
                value,
                description: arg.description.clone(),
                span: line.span,
            };
            args.insert(given.name, outlined);
        }
    }
    (args, uses)
}

/// Arguments by name, each with those in its default.
type Uses = BTreeMap<String, Vec<String>>;

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

/// An `ARG` with what is given for it.
struct Given {
    name: String,
    /// What `--build-arg` or else its own default says.
    value: Option<String>,
    /// Variables of the default that are set, and those that are not.
    used: Vec<String>,
    unset: Vec<String>,
}

/// Looks at one `ARG`. A default that is not needed is not looked at, so it may fail.
fn expand_arg(
    request: &Request<'_>,
    build_args: &BTreeMap<String, String>,
    arg: &Arg,
    scope: &Variables,
) -> Result<Given, PlanError> {
    let escape = request.dockerfile.escape.unwrap_or('\\');
    let expand = |word: &dockerfile::Word| {
        dockerfile::expand(&word.text, escape, scope)
            .map_err(|err| PlanError::expand(word.span, &err))
    };
    let name = expand(&arg.name)?.text;
    let mut given = Given {
        value: build_args.get(&name).cloned(),
        name,
        used: Vec::new(),
        unset: Vec::new(),
    };
    if given.value.is_none()
        && let Some(default) = &arg.default
    {
        let expanded = expand(default)?;
        given.value = Some(expanded.text);
        given.used = expanded.matched;
        given.unset = expanded.unmatched;
    }
    Ok(given)
}

impl Planner<'_, '_> {
    /// `ARG` in a stage: `--build-arg`, else the default here, else the global value.
    pub(super) fn arg(&self, stage: &mut StageState, args: &[Arg]) -> Result<(), PlanError> {
        let mut text = "ARG".to_owned();
        for arg in args {
            let checks = self.request.checks;
            checks.secret("ARG", &arg.name.text);
            let build_args = self.request.build_args;
            let Given {
                name, value, unset, ..
            } = expand_arg(self.request, build_args, arg, &stage.scope)?;
            checks.unset(arg.name.span, &unset, || stage.scope.names());
            checks.report_unset(stage);
            let value = value.or_else(|| self.globals.value(&name).map(str::to_owned));
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
