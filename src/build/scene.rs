//! The sandbox of a step, for somebody to enter.

use std::os::fd::AsFd;

use super::RunNetwork;
use super::error::Error;
use super::graph::RunOp;
use super::ops::Tools;
use super::ops::run::{self, Inputs, Ready, RunError};
use crate::progress::StepId;
use crate::sandbox::{self, Running, Stdio, Terminal};
use crate::snapshot::Active;

/// What every image has a shell as, if it has one.
const PLAIN_SHELL: &str = "/bin/sh";

/// Enters a scene. Called on the thread that builds, while nothing else of the build runs.
pub trait Visitor {
    /// Looks into a step's sandbox. `error` is why the step failed; `None` where
    /// it is looked into for its own sake.
    fn visit(&self, scene: &Scene<'_>, error: Option<&Error>);
}

/// Has no interest in any scene.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Visitor for Nobody {
    fn visit(&self, _scene: &Scene<'_>, _error: Option<&Error>) {}
}

/// A step's tree, mounts, environment, directory, user and network, and a shell
/// that can be started in them as often as wished. What is written there stays
/// for the next shell, and goes when the visit ends.
pub struct Scene<'a> {
    tools: &'a Tools<'a>,
    /// The shell as a step.
    op: RunOp,
    active: Active<'a>,
    inputs: Inputs,
    step: StepId,
    title: String,
    stands: Stands,
}

impl std::fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// Where a scene is, as seen from its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// The step is not done.
    Before,
    /// It is done.
    After,
    /// It failed, and the tree is as it left it.
    Failed,
}

/// Where a scene is set.
pub(super) struct Set<'a> {
    /// What was written.
    pub(super) active: Active<'a>,
    /// On what.
    pub(super) inputs: Inputs,
    /// The step for progress.
    pub(super) step: StepId,
    /// What it is called.
    pub(super) title: String,
    /// Whether that is done.
    pub(super) stands: Stands,
}

impl<'a> Scene<'a> {
    /// Makes a scene of a plan's probe, `op`.
    pub(super) fn new(tools: &'a Tools<'a>, op: RunOp, set: Set<'a>) -> Self {
        Self {
            tools,
            op,
            active: set.active,
            inputs: set.inputs,
            step: set.step,
            title: set.title,
            stands: set.stands,
        }
    }

    /// The step's line in progress, such as `[build 2/5] RUN make`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether the step is done.
    pub fn stands(&self) -> Stands {
        self.stands
    }

    /// The working directory.
    pub fn directory(&self) -> &str {
        &self.op.cwd
    }

    /// The user as the Dockerfile has it.
    pub fn user(&self) -> &str {
        if self.op.user.is_empty() {
            "root"
        } else {
            &self.op.user
        }
    }

    /// The network.
    pub fn network(&self) -> RunNetwork {
        self.op.network
    }

    /// Runs the stage's shell, or `/bin/sh` where the image does not have it, and
    /// `talk` beside it. It ends with the build if that is stopped.
    ///
    /// # Errors
    /// [`Error::NoShell`] where there is none; [`Error::Scene`] when the sandbox cannot be made.
    pub fn run<T>(
        &self,
        stdio: Stdio<'_>,
        terminal: Option<(Terminal, &str)>,
        talk: impl FnOnce(&mut Running) -> T,
    ) -> Result<T, Error> {
        let refused = |err: RunError| Error::Scene(err.to_string());
        self.active.renew_work()?;
        let tools = self.tools;
        let ready = run::prepare(tools, &self.op, &self.inputs, &self.active, self.step);
        let mut ready = ready.map_err(refused)?;
        if let Some((size, kind)) = terminal {
            ready.spec.terminal = Some(size);
            if !ready.spec.env.iter().any(|line| line.starts_with("TERM=")) {
                ready.spec.env.push(format!("TERM={kind}"));
            }
        }
        let mut running = self.start(&mut ready, stdio)?;
        let guard = tools.cancel.guard(&running.killer());
        let answer = talk(&mut running);
        drop(guard);
        Ok(answer)
    }

    fn start(&self, ready: &mut Ready<'_>, stdio: Stdio<'_>) -> Result<Running, Error> {
        let network = ready.attachment.map(AsFd::as_fd);
        let mut first = sandbox::spawn(&ready.spec, stdio, network);
        let missing = matches!(
            first,
            Err(sandbox::Error::CommandNotFound(_) | sandbox::Error::CommandNotExecutable { .. })
        );
        if missing && ready.spec.argv != [PLAIN_SHELL] {
            ready.spec.argv = vec![PLAIN_SHELL.to_owned()];
            self.active.renew_work()?;
            first = sandbox::spawn(&ready.spec, stdio, network);
        }
        first.map_err(|err| match err {
            sandbox::Error::CommandNotFound(_) => Error::NoShell(ready.spec.argv.join(" ")),
            err => Error::Scene(err.to_string()),
        })
    }
}
