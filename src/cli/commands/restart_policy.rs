//! `system restart-policy`

use rbuild::engine::{Config, Engine};

use super::Open;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show a systemd unit that starts containers by their restart policy at boot
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start them now, as that unit does
    #[arg(long)]
    apply: bool,
}

pub(crate) fn run(
    args: &Args,
    config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    if args.apply {
        return apply(&open()?, output);
    }
    let program = std::env::current_exe()
        .map_err(|err| Failure::new(1, format!("cannot find this program: {err}")))?;
    output.line(format_args!(
        "[Unit]\n\
         Description=Containers of {root} by their restart policy\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         # Each container is kept by a process of its own, which outlives this one.\n\
         KillMode=none\n\
         Delegate=yes\n\
         ExecStart={program} --root {root} --run-root {run} system restart-policy --apply\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target",
        root = config.data.display(),
        run = config.run.display(),
        program = program.display(),
    ))?;
    Ok(0)
}

fn apply(engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut code = 0;
    for (name, result) in engine.start_by_policy()? {
        match result {
            Ok(()) => output.line(name)?,
            Err(error) => {
                output.failure(&Failure::from(error));
                code = 1;
            }
        }
    }
    Ok(code)
}
