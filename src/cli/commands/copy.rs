//! `image copy`

use rbuild::engine::Engine;
use rbuild::oci::{Platform, Reference};
use rbuild::transfer::{Copied, CopyOptions};

use super::reach::ReachArgs;
use super::registry::{has_tag, reference};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Target, Words};

/// Copy an image from registry to registry
///
/// Everything is copied as it is, digests included: the index, its images for all platforms and
/// their attestations. Nothing comes into the local store.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The names that it gets; without a tag the source's
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Copy every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Copy it for this platform alone; given several times, an index of those
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// With one --platform, still copy an index
    #[arg(long)]
    prefer_index: bool,
    /// Copy what refers to the image as well: signatures, bills of materials
    #[arg(long)]
    referrers: bool,
    /// Show nothing but the names of the targets
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let source = reference(&args.source)?;
    if !args.all_tags {
        let targets: Result<Vec<Reference>, Failure> = args
            .targets
            .iter()
            .map(|text| target(text, &source))
            .collect();
        one(args, &source, &targets?, engine, output)?;
        return Ok(0);
    }
    if has_tag(&args.source) || args.targets.iter().any(|text| has_tag(text)) {
        return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
    }
    let mut code = 0;
    for tag in engine.remote_tags(&source, args.reach.reach())? {
        let source = source.with_tag(&tag);
        let targets: Result<Vec<Reference>, Failure> = args
            .targets
            .iter()
            .map(|text| target(text, &source))
            .collect();
        if let Err(failure) = one(args, &source, &targets?, engine, output) {
            output.failure(&failure);
            code = 1;
        }
    }
    Ok(code)
}

/// A target without a tag gets the source's.
fn target(text: &str, source: &Reference) -> Result<Reference, Failure> {
    let target = reference(text)?;
    Ok(match source.tag() {
        Some(tag) if !has_tag(text) && target.digest().is_none() => target.with_tag(tag),
        _ => target,
    })
}

fn one(
    args: &Args,
    source: &Reference,
    targets: &[Reference],
    engine: &Engine,
    output: &mut Output,
) -> Result<(), Failure> {
    let options = CopyOptions {
        platforms: args.platform.clone(),
        prefer_index: args.prefer_index,
        referrers: args.referrers,
    };
    for target in targets {
        if !args.quiet {
            let (from, to) = (source.familiar(), target.familiar());
            output.line(format!("Copying {from} to {to}"))?;
            output.flush()?;
        }
        let layers = Layers::new(Words::Copy, args.quiet, Target::Stdout);
        let reach = args.reach.reach();
        let copied = engine.copy_image(
            source,
            std::slice::from_ref(target),
            &options,
            reach,
            &layers,
        );
        layers.end();
        let copied = copied?;
        if args.quiet {
            output.line(target.familiar())?;
        } else {
            copied
                .iter()
                .try_for_each(|copied| told(copied, target, output))?;
        }
    }
    Ok(())
}

fn told(copied: &Copied, target: &Reference, output: &mut Output) -> Result<(), Failure> {
    let sent = match copied.bytes {
        0 => "no layer had to be sent".to_owned(),
        bytes => format!("{} of layers sent", human::size(bytes)),
    };
    let manifests = match copied.documents {
        1 => "1 manifest".to_owned(),
        count => format!("{count} manifests"),
    };
    output.line(format!("{manifests}, {sent}"))?;
    let tag = target.tag().unwrap_or("latest");
    let (digest, size) = (copied.digest, copied.size);
    output.line(format!("{tag}: digest: {digest} size: {size}"))
}
