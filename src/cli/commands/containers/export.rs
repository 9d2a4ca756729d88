//! `export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use rbuild::engine::Engine;
use rbuild::fs::At;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Write a container's file system to a tar
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container, by name or ID
    container: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let Some(path) = &args.output else {
        if output.stdout_is_terminal() {
            let message = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(Failure::new(1, message));
        }
        let mut out = BufWriter::with_capacity(1 << 20, io::stdout());
        engine.container_export(&args.container, &mut out)?;
        out.flush()?;
        return Ok(0);
    };
    // Nothing is left where nothing could be exported.
    engine.container_inspect(&args.container)?;
    let path = engine.config().working_directory.join(path);
    let temporary = path.with_extension("partial");
    let mut out =
        BufWriter::with_capacity(1 << 20, File::create(&temporary).at("create", &temporary)?);
    let written = engine.container_export(&args.container, &mut out);
    if let Err(error) = written {
        drop(out);
        let _left = std::fs::remove_file(&temporary);
        return Err(error.into());
    }
    out.flush().at("write", &temporary)?;
    std::fs::rename(&temporary, &path).at("replace", &path)?;
    Ok(0)
}
