//! `load`, `image load`

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use rbuild::engine::Engine;
use rbuild::fs::At;
use rbuild::oci::Platform;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Read images from a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Take the images for this platform alone
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut source = source(args.input.as_deref())?;
    for loaded in engine.load_images(source.as_mut(), args.platform.as_ref())? {
        if loaded.names.is_empty() {
            output.line(format!("Loaded image ID: {}", loaded.id))?;
        }
        for name in &loaded.names {
            output.line(format!("Loaded image: {}", name.familiar()))?;
        }
    }
    Ok(0)
}

fn source(input: Option<&Path>) -> Result<Box<dyn Read + Send>, Failure> {
    match input {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).at("open", path)?;
            Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
        }
        _ if io::stdin().is_terminal() => {
            let message = "requested load from stdin, but stdin is empty";
            Err(Failure::new(1, message).with_hint("use `-i FILE` or redirect"))
        }
        _ => Ok(Box::new(io::stdin())),
    }
}
