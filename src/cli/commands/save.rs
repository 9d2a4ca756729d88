//! `save`, `image save`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rbuild::engine::Engine;
use rbuild::fs::At;
use rbuild::oci::Platform;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Write images to a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of names of several platforms, the images for this one
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// The images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match args.output.as_deref() {
        Some(path) if path != Path::new("-") => to_file(path, args, engine)?,
        _ if output.stdout_is_terminal() => {
            let message = "cowardly refusing to save to a terminal";
            return Err(Failure::new(1, message).with_hint("use `-o FILE` or redirect"));
        }
        _ => save(args, engine, output.stdout())?,
    }
    Ok(0)
}

fn save(args: &Args, engine: &Engine, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(engine.save_images(&args.images, args.platform.as_ref(), out)?)
}

/// Writes beside the file and renames, so that no half archive is left behind.
/// What is no regular file (a pipe, a device) is written to as it is.
fn to_file(path: &Path, args: &Args, engine: &Engine) -> Result<(), Failure> {
    let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if special {
        let file = File::create(path).at("open", path)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        save(args, engine, &mut writer)?;
        return Ok(writer.flush().at("write", path)?);
    }
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::NamedTempFile::new_in(dir).at("create a file in", dir)?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    save(args, engine, &mut writer)?;
    writer.flush().at("write", path)?;
    drop(writer);
    temporary
        .persist(path)
        .map_err(|err| err.error)
        .at("create", path)?;
    Ok(())
}
