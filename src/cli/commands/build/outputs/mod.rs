//! Where the result goes and what it looks like.

mod annotation;
mod facts;
mod parse;

use std::path::PathBuf;

use rbuild::build::{BuildRequest, BuildResult, ImageOutput, Output, Target};
use rbuild::engine::Config;
use rbuild::oci::Platform;

use super::later::unavailable;
use crate::cli::output::Output as Printer;
use crate::cli::report::Failure;

/// How a line of differences begins that says what to do.
const HINT: &str = "hint: ";

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Outputs {
    /// Where the result goes: a directory, `-`, or `type=image|registry|docker|oci|tar|local|cacheonly,...`; may be repeated
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Put the image into the store; short for `--output=type=docker`
    #[arg(long)]
    load: bool,
    /// Push the image to the registries of its names; short for `--output=type=registry`
    #[arg(long)]
    push: bool,
    /// Annotate the image: `[manifest|index|manifest-descriptor|index-descriptor[[PLATFORM]]:]KEY=VALUE`
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Make one layer of all new ones
    #[arg(long)]
    squash: bool,
    /// Build twice and tell what differs
    #[arg(long)]
    check_reproducible: bool,
    /// Build for these platforms [env: DOCKER_DEFAULT_PLATFORM]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Write the image's ID to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write facts about the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Attestations
    #[arg(long, hide = true, value_name = "ATTESTATION")]
    attest: Vec<String>,
    /// A list of the image's software
    #[arg(long, hide = true, value_name = "VALUE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    sbom: Option<String>,
    /// How the image was made
    #[arg(long, hide = true, value_name = "VALUE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    provenance: Option<String>,
}

impl Outputs {
    /// Puts what was asked for into the request. `allowed` is what `--allow` grants,
    /// `tags` is `--tag` as it was written.
    pub(super) fn apply(
        &self,
        build: &mut BuildRequest,
        config: &Config,
        allowed: &[String],
        tags: &[String],
    ) -> Result<(), Failure> {
        self.refuse_attestations()?;
        build.platforms = self.platforms(config)?;
        build.squash = self.squash;
        build.check_reproducible = self.check_reproducible;
        let mut reader = parse::Reader {
            config,
            tags: &build.tags,
            written: tags,
            push: self.push,
            allowed,
            stream: None,
            keep_times: Vec::new(),
        };
        for text in &self.output {
            build.outputs.push(reader.output(text)?);
        }
        // Times are kept only where no output wants them changed.
        build.keep_times =
            !reader.keep_times.is_empty() && reader.keep_times.iter().all(|keep| *keep);
        let is_pushed = |one: &Output| matches!(one, Output::Image(image) if image.push.is_some());
        if self.push && !build.outputs.iter().any(is_pushed) {
            build.outputs.push(reader.output("type=registry")?);
        }
        if self.load {
            load(build);
        }
        self.annotate(build)
    }

    /// Each annotation is one of every image.
    fn annotate(&self, build: &mut BuildRequest) -> Result<(), Failure> {
        let mut annotations = Vec::new();
        for text in &self.annotation {
            annotations.extend(annotation::flag(text).map_err(|why| Failure::new(1, why))?);
        }
        if annotations.is_empty() {
            return Ok(());
        }
        if build.outputs.is_empty() {
            let image = ImageOutput::new(build.tags.clone());
            build.outputs.push(Output::Image(image));
        }
        for output in &mut build.outputs {
            let form = match output {
                Output::Image(output) => &mut output.form,
                Output::Archive(output) => &mut output.form,
                Output::Files(_) | Output::Nothing => continue,
            };
            form.annotations.extend(annotations.iter().cloned());
        }
        Ok(())
    }

    /// The platforms, each once, in their order.
    fn platforms(&self, config: &Config) -> Result<Vec<Platform>, Failure> {
        let default = config.environment.get("DOCKER_DEFAULT_PLATFORM");
        let default = default.filter(|text| !text.is_empty()).into_iter();
        let mut texts: Vec<&String> = self.platform.iter().collect();
        if texts.is_empty() {
            texts.extend(default);
        }
        let mut platforms: Vec<Platform> = Vec::new();
        for text in texts {
            let platform: Platform = text
                .trim()
                .parse()
                .map_err(|err: rbuild::oci::ParsePlatformError| Failure::new(1, err.to_string()))?;
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }

    /// Attestations can be declined, as long as there are none to be had.
    fn refuse_attestations(&self) -> Result<(), Failure> {
        let wanted = |value: &Option<String>| {
            let declined = ["false", "0", "disabled=true"];
            value
                .as_ref()
                .is_some_and(|v| !declined.contains(&v.as_str()))
        };
        let declined = |text: &&String| text.split(',').any(|part| part == "disabled=true");
        for (flag, set) in [
            ("--attest", !self.attest.iter().all(|text| declined(&text))),
            ("--sbom", wanted(&self.sbom)),
            ("--provenance", wanted(&self.provenance)),
        ] {
            if set {
                return Err(unavailable(flag));
            }
        }
        Ok(())
    }

    /// Tells of what was built: files, the ID on standard output, differences.
    pub(super) fn report(
        &self,
        build: &BuildRequest,
        result: &BuildResult,
        warnings: &[String],
        config: &Config,
        quiet: bool,
        printer: &mut Printer,
    ) -> Result<u8, Failure> {
        if let Some(path) = &self.iidfile {
            facts::write(path, name_of(result).unwrap_or_default().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            facts::write(path, &facts::document(result, warnings, config)?)?;
        }
        let is_taken = |output: &Output| {
            let target = match output {
                Output::Archive(output) => &output.target,
                Output::Files(output) => &output.target,
                Output::Image(_) | Output::Nothing => return false,
            };
            matches!(target, Target::Stream(_))
        };
        if let Some(id) = name_of(result).filter(|_| quiet)
            && !build.outputs.iter().any(is_taken)
        {
            printer.line(id)?;
        }
        let Some(differences) = &result.differences else {
            return Ok(0);
        };
        if differences.is_empty() {
            printer.message("reproducible: the second build gave the same image");
            return Ok(0);
        }
        let (hints, facts): (Vec<&String>, Vec<&String>) =
            differences.iter().partition(|line| line.starts_with(HINT));
        let facts: Vec<&str> = facts.into_iter().map(String::as_str).collect();
        let failure = Failure::new(1, format!("not reproducible: {}", facts.join("\n  ")));
        Err(
            match hints.first().and_then(|hint| hint.strip_prefix(HINT)) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            },
        )
    }
}

/// Makes sure that the image comes into the store.
fn load(build: &mut BuildRequest) {
    let mut images = build.outputs.iter_mut().filter_map(|one| match one {
        Output::Image(image) => Some(image),
        _ => None,
    });
    if let Some(image) = images.next() {
        image.store = true;
        return;
    }
    let image = ImageOutput::new(build.tags.clone());
    build.outputs.push(Output::Image(image));
}

/// The ID of the image; the digest of the index where there are several and the
/// store has none.
fn name_of(result: &BuildResult) -> Option<String> {
    let whole = result.descriptor.as_ref();
    let image = result.image.map(|id| id.to_string());
    image.or_else(|| Some(whole?.digest.to_string()))
}
