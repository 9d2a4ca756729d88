//! `create`

use rbuild::engine::{ContainerRequest, Created, Engine, Error, ErrorKind, Streams};

use super::flags::{self, Flags};
use crate::cli::output::Output;
use crate::cli::report::Failure;

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
    if let Some(path) = flags.cidfile.as_deref().filter(|path| path.exists()) {
        let message = "container ID file found, make sure the other container isn't running";
        return Err(wrong(format!("{message} or delete {}", path.display())));
    }
    let request: ContainerRequest = flags.request(engine, streams).map_err(wrong)?;
    let created = engine.container_create(request);
    let created = created.map_err(|err| explain(flags, err, output))?;
    for warning in &created.warnings {
        output.warn(warning);
    }
    if let Some(path) = &flags.cidfile {
        flags::write_id(path, &created.id)?;
    }
    Ok(created)
}

fn explain(flags: &Flags, error: Error, output: &mut Output) -> Failure {
    let image = flags.image();
    if error.kind() != ErrorKind::NotFound {
        return Failure::from(error).with_code(125);
    }
    if flags.pull != "never" {
        let tagged = match image.parse() {
            Ok(reference) => rbuild::oci::Reference::familiar(&reference),
            Err(_) => image.to_owned(),
        };
        output.message(format!("Unable to find image '{tagged}' locally"));
    }
    Failure::new(125, format!("No such image: {image}")).with_hint(
        "pulling from registries is not available in this version; load or build the image first",
    )
}
