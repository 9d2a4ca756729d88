//! `import`, `image import`

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use rbuild::engine::{Engine, apply_changes};
use rbuild::fs::At;
use rbuild::image::ImportOptions;
use rbuild::oci::{ImageConfig, Platform, Reference};

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Make an image of one layer from a tar of a root file system
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apply a Dockerfile instruction, such as `CMD ["sh"]`
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A comment for the history
    #[arg(short, long)]
    message: Option<String>,
    /// The platform of the image
    #[arg(long)]
    platform: Option<Platform>,
    /// The tar, compressed or not; `-` is standard input
    #[arg(value_name = "FILE|-")]
    source: String,
    /// The name to give
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<Reference>,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let mut config = ImageConfig {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        ..ImageConfig::default()
    };
    apply_changes(&mut config.config, &args.change)?;
    let options = ImportOptions {
        config,
        message: args.message.clone(),
        name: args.name.clone(),
    };
    let id = engine.import_image(source(&args.source)?.as_mut(), options)?;
    output.line(id)?;
    Ok(0)
}

fn source(text: &str) -> Result<Box<dyn Read + Send>, Failure> {
    if text == "-" {
        return Ok(Box::new(io::stdin()));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        let message = "importing from a URL is not available in this version";
        return Err(Failure::new(1, message).with_hint("download it and use `-`"));
    }
    let path = Path::new(text);
    let file = File::open(path).at("open", path)?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}
