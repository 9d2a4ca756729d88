//! What happens when a step fails: the flags, and how what was left is told.

use rbuild::build::{BringOut, BuildRequest, Left, OnError};
use rbuild::engine::Config;

use crate::cli::human;
use crate::cli::report::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Failing {
    /// When a step fails: fail, keep its tree as an image, or open a shell in its sandbox
    #[arg(long, value_name = "fail|keep|shell", default_value = "fail")]
    #[arg(hide_default_value = true, value_parser = on_error)]
    on_error: OnError,
    /// Bring a file or directory out of a failed step's tree into DIR
    #[arg(long, value_name = "PATH=DIR", value_parser = export)]
    export_failed: Vec<(String, String)>,
}

fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "fail" => Ok(OnError::Fail),
        "keep" => Ok(OnError::Keep),
        "shell" => Ok(OnError::Shell),
        _ => Err("expected `fail`, `keep` or `shell`".to_owned()),
    }
}

fn export(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((path, directory)) if !path.is_empty() && !directory.is_empty() => {
            Ok((path.to_owned(), directory.to_owned()))
        }
        _ => Err("expected `PATH=DIR`".to_owned()),
    }
}

impl Failing {
    /// Puts what was asked for into the request.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every group of flags is applied in one way"
    )]
    pub(super) fn apply(&self, build: &mut BuildRequest, config: &Config) -> Result<(), Failure> {
        build.on_error = self.on_error;
        let wishes = self.export_failed.iter();
        build.export_failed = wishes
            .map(|(path, directory)| BringOut {
                path: path.clone(),
                directory: config.working_directory.join(directory),
            })
            .collect();
        Ok(())
    }

    /// Whether a shell may be opened.
    pub(super) fn wants_shell(&self) -> bool {
        self.on_error == OnError::Shell
    }
}

/// What was left of a failed step, in lines.
pub(super) fn notes(left: &Left) -> Vec<String> {
    let mut lines = Vec::new();
    for brought in &left.brought {
        let files = match brought.files {
            1 => "1 file".to_owned(),
            count => format!("{count} files"),
        };
        lines.push(format!(
            "  brought out `{}` to `{}` ({files}, {})",
            brought.from,
            brought.to.display(),
            human::size(brought.bytes)
        ));
    }
    if let Some(image) = &left.image {
        let name = image.name.familiar();
        lines.push(format!("  kept the step's tree as `{name}`, {}", image.id));
        let command = if image.has_entrypoint {
            format!("--entrypoint /bin/sh {name}")
        } else {
            format!("{name} /bin/sh")
        };
        lines.push(format!(
            "  look into it with: rbuild run --rm -it {command}"
        ));
    }
    let problems = left.problems.iter();
    lines.extend(problems.map(|problem| format!("  WARNING: {problem}")));
    lines
}
