//! `create`

use rbuild::engine::{ContainerRequest, Created, Engine, Error, Reach, Streams};
use rbuild::oci::{ParseReferenceError, Reference};

use super::flags::{Flags, IdFile};
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{self, Target};

/// Make a container without starting it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let streams = args.flags.streams().map_err(|err| Failure::new(1, err))?;
    let created = create(&args.flags, engine, streams, output);
    let created = created.map_err(|failure| failure.with_code(1))?;
    output.line(created.id)?;
    Ok(0)
}

/// Makes the container that the flags ask for. Failures have `run`'s code.
pub(super) fn create(
    flags: &Flags,
    engine: &Engine,
    streams: Streams,
    output: &mut Output,
) -> Result<Created, Failure> {
    let wrong = |err: String| Failure::new(125, err);
    if flags.image().is_empty() {
        return Err(wrong("invalid reference format".to_owned()));
    }
    let request: ContainerRequest = flags.request(engine, streams).map_err(wrong)?;
    let id_file = flags
        .cidfile
        .as_deref()
        .filter(|p| !p.as_os_str().is_empty());
    let mut id_file = id_file.map(IdFile::create).transpose()?;
    let platform = flags.platform.as_ref();
    if flags.pull == "always" {
        pull(flags, engine)?;
    } else if flags.pull != "never"
        && !engine.has_image(flags.image(), platform).map_err(refused)?
    {
        let shown = reference(flags)?.familiar();
        output.message(format!("Unable to find image '{shown}' locally"));
        pull(flags, engine)?;
    }
    let created = engine
        .container_create(request, platform)
        .map_err(|error| {
            let failure = refused(error);
            if flags.pull == "never" && !engine.has_image(flags.image(), platform).unwrap_or(true) {
                return failure.with_hint("`rbuild pull` it, or leave `--pull never` out");
            }
            failure
        })?;
    for warning in &created.warnings {
        output.warn(warning);
    }
    if let Some(file) = &mut id_file {
        file.write(&created.id)?;
    }
    Ok(created)
}

fn reference(flags: &Flags) -> Result<Reference, Failure> {
    let parsed = flags.image().parse();
    parsed.map_err(|err: ParseReferenceError| Failure::new(125, err.to_string()))
}

fn pull(flags: &Flags, engine: &Engine) -> Result<(), Failure> {
    let reference = reference(flags)?;
    let (platform, reach) = (flags.platform.as_ref(), Reach::default());
    let pulled = transfer::pull(
        engine,
        &reference,
        platform,
        reach,
        flags.quiet,
        Target::Stderr,
    );
    pulled.map(drop).map_err(|failure| failure.with_code(125))
}

fn refused(error: Error) -> Failure {
    Failure::from(error).with_code(125)
}
