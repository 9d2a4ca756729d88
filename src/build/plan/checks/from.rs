//! Build checks of `FROM`, and what is wrong with it wherever it stands.
//!
//! BuildKit looks at every FROM of a file, those that the target does not reach
//! included.

use std::collections::BTreeSet;

use super::super::error::PlanError;
use super::super::scope::Variables;
use super::super::{Planner, args};
use crate::build::graph::BaseImage;
use crate::dockerfile::{self, Expanded, Stage, Word, closest_exact, quote};
use crate::oci::{Platform, Reference};

/// The platform that a stage is built for without being told.
const TARGET_PLATFORM: &str = "TARGETPLATFORM";

impl Planner<'_, '_> {
    /// Every base must be a possible name when nothing is given for the arguments.
    pub(in crate::build::plan) fn check_default_bases(&self) {
        // What cannot be expanded is an error for the plan to find.
        let Ok(scope) = args::default_globals(self.request) else {
            return;
        };
        for stage in &self.request.dockerfile.stages {
            let base = &stage.from.value.base;
            let Ok(expanded) = self.expand_global(base, &scope) else {
                return;
            };
            if expanded.text.parse::<Reference>().is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    base.text
                );
                let checks = self.request.checks;
                let before = checks.enter(&stage.from, stage.from.span);
                checks.add_globally("InvalidDefaultArgInFrom", message);
                checks.leave(before);
            }
        }
    }

    /// Looks at every FROM with the arguments that are given.
    pub(in crate::build::plan) fn check_froms(&self) -> Result<(), PlanError> {
        let declared = self.request.dockerfile.global_args.iter();
        let declared =
            declared.flat_map(|line| line.value.iter().map(|arg| arg.name.text.as_str()));
        let known: BTreeSet<&str> = declared.chain(self.globals.names()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        for stage in &self.request.dockerfile.stages {
            let before = self.request.checks.enter(&stage.from, stage.from.span);
            let result = self.check_from(stage, &known);
            self.request.checks.leave(before);
            result?;
        }
        Ok(())
    }

    fn check_from(&self, stage: &Stage, known: &[&str]) -> Result<(), PlanError> {
        let from = &stage.from.value;
        let base = self.expand_global(&from.base, &self.globals)?;
        self.report_undeclared(&base, known);
        if base.text.is_empty() {
            let message = format!("base name ({}) should not be blank", from.base.text);
            return Err(PlanError::new(from.base.span, message).with_hint(meant(&base, known)));
        }
        let Some(word) = &from.platform else {
            return Ok(());
        };
        let platform = self.expand_global(word, &self.globals).map_err(|err| {
            let message = format!("failed to process arguments for platform: {err}");
            PlanError::new(word.span, message)
        })?;
        self.report_undeclared(&platform, known);
        self.report_redundant(word, &platform);
        self.report_constant(stage, &platform);
        if platform.text.is_empty() {
            let message = format!("empty platform value from expression {}", word.text);
            return Err(PlanError::new(word.span, message).with_hint(meant(&platform, known)));
        }
        match platform.text.parse::<Platform>() {
            Ok(_) => Ok(()),
            Err(err) => {
                let message = format!("failed to parse platform {}: {err}", word.text);
                Err(PlanError::new(word.span, message).with_hint(meant(&platform, known)))
            }
        }
    }

    fn expand_global(&self, word: &Word, scope: &Variables) -> Result<Expanded, PlanError> {
        let escape = self.request.dockerfile.escape.unwrap_or('\\');
        dockerfile::expand(&word.text, escape, scope)
            .map_err(|err| PlanError::expand(word.span, &err))
    }

    fn report_undeclared(&self, expanded: &Expanded, known: &[&str]) {
        for name in &expanded.unmatched {
            // One that is declared without a value is not set, but meant.
            if known.contains(&name.as_str()) {
                continue;
            }
            let meant = closest_exact(name, known)
                .map_or_else(String::new, |known| format!(" (did you mean {known}?)"));
            let message = format!("FROM argument '{name}' is not declared{meant}");
            self.request.checks.add("UndefinedArgInFrom", message);
        }
    }

    fn report_redundant(&self, word: &Word, platform: &Expanded) {
        let is_alone = platform.matched == [TARGET_PLATFORM] && platform.unmatched.is_empty();
        if is_alone && self.globals.value(TARGET_PLATFORM) == Some(platform.text.as_str()) {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default \
                 behavior",
                word.text
            );
            self.request.checks.add("RedundantTargetPlatform", message);
        }
    }

    fn report_constant(&self, stage: &Stage, platform: &Expanded) {
        if !platform.matched.is_empty() || !platform.unmatched.is_empty() {
            return;
        }
        let Ok(parsed) = platform.text.parse::<Platform>() else {
            return;
        };
        // A stage that is named for its platform means it.
        let name = stage.from.value.name.as_ref();
        let name = name.map_or("", |name| name.text.as_str());
        if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
            let message = format!(
                "FROM --platform flag should not use constant value {}",
                quote(&platform.text)
            );
            let checks = self.request.checks;
            checks.add("FromPlatformFlagConstDisallowed", message);
        }
    }

    /// The base image must be for the platform that the stage is built for.
    pub(in crate::build::plan) fn check_base_platform(
        &self,
        stage: &Stage,
        name: &str,
        image: &BaseImage,
    ) {
        let asked = stage.from.value.platform.as_ref();
        let asked = asked.and_then(|word| self.expand_global(word, &self.globals).ok());
        let asked = asked.and_then(|expanded| expanded.text.parse::<Platform>().ok());
        let expected = asked.as_ref().unwrap_or(self.request.platform);
        self.check_image_platform(name, image, expected);
    }

    /// An image must be for the platform that is expected where it is named.
    pub(in crate::build::plan) fn check_image_platform(
        &self,
        name: &str,
        image: &BaseImage,
        expected: &Platform,
    ) {
        let (os, architecture) = (&image.config.os, &image.config.architecture);
        let is_unknown = image.is_unknown() || os.is_empty() || architecture.is_empty();
        if is_unknown || (os, architecture) == (&expected.os, &expected.architecture) {
            return;
        }
        let actual = Platform::normalised(os, architecture, image.config.variant.as_deref());
        let message = format!(
            "Base image {name} was pulled with platform {}, expected {} for current build",
            quote(&actual.to_string()),
            quote(&expected.to_string())
        );
        let checks = self.request.checks;
        checks.add_globally("InvalidBaseImagePlatform", message);
    }
}

/// `did you mean x?` for the first variable that is not set and has a likely one.
fn meant(expanded: &Expanded, known: &[&str]) -> Option<String> {
    let mut names = expanded.unmatched.iter();
    let meant = names.find_map(|name| closest_exact(name, known));
    meant.map(|name| format!("did you mean {name}?"))
}
