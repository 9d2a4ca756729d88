//! `stop`, `restart`, `kill`, `rm`, `rename`, `wait`: verbs on one container or several.

use rbuild::engine::{
    self, ContainerChanges, ContainerRemoveOptions, Engine, RestartPolicy, StopOptions, signal,
};

use super::resources::Resources;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Stop one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    how: How,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Stop and start one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    how: How,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Signal to ask with
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
}

impl How {
    fn options(&self) -> Result<StopOptions, Failure> {
        Ok(StopOptions {
            signal: self.signal.as_deref().map(number).transpose()?,
            timeout: self.timeout,
        })
    }
}

/// Kill one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Stop all processes of one or more containers for a while
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Let the processes of one or more paused containers go on
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Change limits and restart policy of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    resources: Resources,
    /// When to start them again: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Remove one or more containers
#[derive(Debug, clap::Args)]
#[command(visible_alias = "remove")]
pub(crate) struct RmArgs {
    /// Remove also running containers, by killing them
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes as well
    #[arg(short, long)]
    volumes: bool,
    /// Remove a link, not the container: CONTAINER/ALIAS
    #[arg(short, long)]
    link: bool,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Rename a container
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// The container, by name or ID
    container: String,
    /// Its new name
    name: String,
}

/// Wait until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// A signal by name or number.
pub(super) fn number(text: &str) -> Result<i32, Failure> {
    signal::parse(text).map_err(|err| Failure::new(1, err.to_string()))
}

pub(super) fn stop(args: &StopArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let options = args.how.options()?;
    each(&args.containers, output, &|name| {
        engine.container_stop(name, options)?;
        Ok(name.to_owned())
    })
}

pub(super) fn restart(
    args: &RestartArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let options = args.how.options()?;
    each(&args.containers, output, &|name| {
        engine.container_restart(name, options)?;
        Ok(name.to_owned())
    })
}

pub(super) fn kill(args: &KillArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let signal = number(&args.signal)?;
    each(&args.containers, output, &|name| {
        engine.container_kill(name, signal)?;
        Ok(name.to_owned())
    })
}

pub(super) fn pause(args: &PauseArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    each(&args.containers, output, &|name| {
        engine.container_pause(name)?;
        Ok(name.to_owned())
    })
}

pub(super) fn unpause(
    args: &UnpauseArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    each(&args.containers, output, &|name| {
        engine.container_unpause(name)?;
        Ok(name.to_owned())
    })
}

pub(super) fn update(
    args: &UpdateArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let restart = args
        .restart
        .as_deref()
        .map(RestartPolicy::parse)
        .transpose();
    let changes = ContainerChanges {
        resources: args.resources.limits(true),
        restart: restart.map_err(|err| Failure::new(1, err.to_string()))?,
    };
    if changes == ContainerChanges::default() && !args.resources.is_said() {
        let message = "you must provide one or more flags when using this command";
        return Err(Failure::new(1, message));
    }
    let mut warnings = Vec::new();
    let warned = std::cell::RefCell::new(&mut warnings);
    let code = each(&args.containers, output, &|name| {
        let more = engine.container_update(name, &changes)?;
        warned.borrow_mut().extend(more);
        Ok(name.to_owned())
    })?;
    for warning in &warnings {
        output.warn(warning);
    }
    Ok(code)
}

pub(super) fn rm(args: &RmArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if args.link {
        return each(&args.containers, output, &|name| {
            engine.container_unlink(name)?;
            Ok(name.to_owned())
        });
    }
    let mut failed = 0;
    let options = ContainerRemoveOptions {
        force: args.force,
        volumes: args.volumes,
    };
    for name in &args.containers {
        match engine.container_remove(name, options) {
            Ok(()) => output.line(name)?,
            // What is to be gone by force and is not there is gone.
            Err(error) if args.force && error.kind() == engine::ErrorKind::NotFound => {
                output.error(error);
            }
            Err(error) => {
                output.failure(&Failure::from(error));
                failed = 1;
            }
        }
    }
    Ok(failed)
}

pub(super) fn rename(args: &RenameArgs, engine: &Engine) -> Result<u8, Failure> {
    engine.container_rename(&args.container, &args.name)?;
    Ok(0)
}

pub(super) fn wait(args: &WaitArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    each(&args.containers, output, &|name| {
        Ok(engine.container_wait(name)?.to_string())
    })
}

/// Does something with each container and prints a line for it. One that fails
/// does not keep the others from their turn.
pub(super) fn each(
    names: &[String],
    output: &mut Output,
    verb: &dyn Fn(&str) -> Result<String, engine::Error>,
) -> Result<u8, Failure> {
    let mut failed = 0;
    for name in names {
        match verb(name) {
            Ok(line) => {
                output.line(line)?;
                output.flush()?;
            }
            Err(error) => {
                output.failure(&Failure::from(error));
                failed = 1;
            }
        }
    }
    Ok(failed)
}
