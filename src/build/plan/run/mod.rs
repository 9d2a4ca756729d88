//! RUN to its operation.

mod mounts;

use super::error::PlanError;
use super::stage::StageState;
use super::{Planner, args};
use crate::build::graph::{InlineFile, Op, RunOp, Vertex};
use crate::build::{Entitlement, RunNetwork};
use crate::dockerfile::{Form, Run, Span, Word};

impl Planner<'_, '_> {
    pub(super) fn run(
        &mut self,
        index: usize,
        stage: &mut StageState,
        run: &Run,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        let network = self.run_network(run)?;
        let insecure = self.run_insecure(run)?;
        let device = run.flags.devices.first();
        if let Some(device) = device.filter(|_| !self.request.is_check) {
            return Err(no_device(device));
        }
        let mounts = self.mounts(index, stage, run)?;
        let (argv, script) = command(stage, run);
        if argv.is_empty() {
            return Err(PlanError::new(run.command.span, "RUN needs a command"));
        }
        let created_by = format!("RUN {}{} # buildkit", arguments(stage), argv.join(" "));
        let declared = |name: &str| stage.args.iter().any(|(own, _)| own == name);
        let mut proxy_env = args::proxies(self.request);
        proxy_env.retain(|(name, _)| !declared(name));
        let name = stage.step_name(text);
        let config = &stage.config.config;
        let op = RunOp {
            argv,
            script,
            env: stage.scope.to_pairs(),
            proxy_env,
            cwd: if config.working_dir.is_empty() {
                "/".to_owned()
            } else {
                config.working_dir.clone()
            },
            user: config.user.clone(),
            network,
            mounts,
            insecure,
            platform: stage.platform.clone(),
        };
        let vertex = self.push(Vertex {
            parent: stage.top,
            op: Op::Run(op),
            span: Some(span),
            name,
            text: text.to_owned(),
        });
        stage.top = Some(vertex);
        stage.record(created_by, Some(vertex));
        Ok(())
    }

    fn run_network(&self, run: &Run) -> Result<RunNetwork, PlanError> {
        match run
            .flags
            .network
            .as_ref()
            .map(|word| (word.text.as_str(), word.span))
        {
            None | Some(("default", _)) => Ok(self.request.network),
            Some(("none", _)) => Ok(RunNetwork::None),
            Some(("host", span)) => {
                // Whoever gives the host's network to all steps gives it to this one.
                if self.request.network != RunNetwork::Host {
                    self.entitled(Entitlement::NetworkHost, span)?;
                }
                Ok(RunNetwork::Host)
            }
            Some((other, span)) => Err(PlanError::new(
                span,
                format!("unsupported network mode: {other:?}"),
            )
            .with_hint(Some("use `default`, `none` or `host`".to_owned()))),
        }
    }

    /// Whether it asks for `insecure`; the parser takes nothing else but `sandbox`.
    fn run_insecure(&self, run: &Run) -> Result<bool, PlanError> {
        let security = run.flags.security.as_ref();
        let insecure = security.filter(|word| word.text == "insecure");
        if let Some(word) = insecure {
            self.entitled(Entitlement::SecurityInsecure, word.span)?;
        }
        Ok(insecure.is_some())
    }

    /// Checks that the command line allows what a step asks for.
    fn entitled(&self, wanted: Entitlement, span: Span) -> Result<(), PlanError> {
        // Who only looks at a Dockerfile allows nothing and needs nothing.
        if self.request.is_check || self.request.allow.contains(&wanted) {
            return Ok(());
        }
        let name = wanted.name();
        let hint = format!("add `--allow {name}` to the command if you trust this Dockerfile");
        Err(PlanError::new(span, format!("{name} is not allowed")).with_hint(Some(hint)))
    }
}

/// The devices of the host are named by the CDI files of their vendors, which this
/// version does not read.
fn no_device(device: &Word) -> PlanError {
    PlanError::new(
        device.span,
        format!(
            "RUN --device={}: devices of the host cannot be given to a step in this version",
            device.text
        ),
    )
    .with_hint(Some(
        "take `--device` out; `RUN --security=insecure` with `--allow security.insecure` lets a step \
         make the nodes of devices that it knows"
            .to_owned(),
    ))
}

/// `|2 A=1 B=2 ` for the declared arguments, as BuildKit's history has them.
fn arguments(stage: &StageState) -> String {
    if stage.args.is_empty() {
        return String::new();
    }
    let value = |(name, value): &(String, Option<String>)| {
        let value = stage
            .scope
            .value(name)
            .or(value.as_deref())
            .unwrap_or_default();
        format!("{name}={value} ")
    };
    let pairs: String = stage.args.iter().map(value).collect();
    format!("|{} {pairs}", stage.args.len())
}

/// The argument vector and, for a heredoc that is a script, its file.
fn command(stage: &StageState, run: &Run) -> (Vec<String>, Option<InlineFile>) {
    let text = match &run.command.form {
        Form::Exec(argv) => return (argv.clone(), None),
        Form::Shell(text) => text,
    };
    let mut argv = stage.shell();
    let Some(first) = run.heredocs.first() else {
        argv.push(text.clone());
        return (argv, None);
    };
    if !is_one_heredoc(text) {
        // The shell reads the heredocs itself, so their bodies follow its text.
        let mut whole = text.clone();
        for heredoc in &run.heredocs {
            whole.push('\n');
            whole.push_str(&heredoc.content);
            whole.push_str(&heredoc.name);
        }
        argv.push(whole);
        return (argv, None);
    }
    if first.content.starts_with("#!") {
        argv.push(format!("/dev/pipes/{}", first.name));
        let script = InlineFile {
            name: first.name.clone(),
            content: first.content.clone(),
        };
        return (argv, Some(script));
    }
    argv.push(first.content.clone());
    (argv, None)
}

/// Whether the whole command is one word like `<<EOF`.
fn is_one_heredoc(text: &str) -> bool {
    let text = text.trim();
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix("<<").is_some_and(|word| {
        let word = word.strip_prefix('-').unwrap_or(word);
        !word.trim().is_empty()
            && !word
                .trim()
                .contains(|c: char| c.is_whitespace() || "<>|&;".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::is_one_heredoc;

    #[test]
    fn a_lone_heredoc_word_is_the_whole_command() {
        for text in ["<<EOF", " <<-EOF ", "<<'EOF'", "3<<E", "<< EOF"] {
            assert!(is_one_heredoc(text), "{text}");
        }
        for text in ["<<EOF bash", "cat <<EOF", "<<A <<B", "<<EOF > f", "true"] {
            assert!(!is_one_heredoc(text), "{text}");
        }
    }
}
