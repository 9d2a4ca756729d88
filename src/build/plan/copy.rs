//! COPY and ADD to their operation.

use super::Planner;
use super::error::PlanError;
use super::instructions::absolute;
use super::stage::StageState;
use crate::build::graph::{ContextId, CopyOp, CopyPattern, CopySource, InlineFile, Op, Vertex};
use crate::dockerfile::{self, Copy, CopyFlags, Heredoc, Span, Word};

/// What COPY and ADD have in common.
pub(super) struct Parts<'a> {
    pub(super) instruction: &'static str,
    pub(super) flags: &'a CopyFlags,
    pub(super) sources: &'a [Word],
    pub(super) heredocs: &'a [Heredoc],
    pub(super) destination: &'a Word,
    pub(super) unpack: bool,
    pub(super) unpack_remote: bool,
}

/// Where a source is looked for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The tree.
    pub(super) source: CopySource,
    /// The path in it, where that is not what was written.
    pub(super) path: Option<String>,
}

impl Place {
    /// A tree in which a source is found under what was written.
    pub(super) fn of(source: CopySource) -> Self {
        Self { source, path: None }
    }
}

impl Planner<'_, '_> {
    pub(super) fn copy(
        &mut self,
        index: usize,
        stage: &mut StageState,
        copy: &Copy,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        if let Some((true, span)) = copy.parents {
            return Err(PlanError::later(span, "COPY --parents"));
        }
        for source in &copy.sources {
            let text = self.expand(source, &stage.scope)?;
            let refuse = |what: &str| {
                let message = format!("source can't be a {what} for COPY");
                PlanError::new(source.span, message).with_hint(Some("use ADD".to_owned()))
            };
            match dockerfile::git_reference(&text) {
                Ok(Some(git)) if !git.indistinguishable_from_local => {
                    return Err(refuse("git ref"));
                }
                _ if is_url(&text) => return Err(refuse("URL")),
                _ => {}
            }
        }
        let source = match &copy.from {
            None => CopySource::Context(ContextId::MAIN),
            Some(from) => self.copy_from(index, from)?,
        };
        let parts = Parts {
            instruction: "COPY",
            flags: &copy.flags,
            sources: &copy.sources,
            heredocs: &copy.heredocs,
            destination: &copy.destination,
            unpack: false,
            unpack_remote: false,
        };
        self.copy_parts(stage, &parts, &|_| Place::of(source), text, span)
    }

    /// The tree that `--from` names: an earlier stage, a context, or else an image.
    pub(super) fn copy_from(&mut self, index: usize, from: &Word) -> Result<CopySource, PlanError> {
        if from.text.contains('$') {
            return Err(PlanError::new(
                from.span,
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from \
                 global scope as a workaround",
            ));
        }
        if let Some(stage) = self.stage_named(index, from)? {
            return Ok(CopySource::Vertex(self.planned(stage).top));
        }
        if let Some(source) = self.context_source(&from.text, from.span)? {
            return Ok(source);
        }
        if from.text == "scratch" {
            return Ok(CopySource::Vertex(None));
        }
        let hint = self.suggest_stage(&from.text, index);
        let title = |image: &super::BaseImage| format!("FROM {}", image.reference);
        let platform = self.platform.clone();
        let (image, vertex) = self
            .image(&from.text, &platform, Some(from.span), title)
            .map_err(|err| {
                if hint.is_some() {
                    err.with_hint(hint)
                } else {
                    err
                }
            })?;
        self.check_image_platform(&from.text, &image, self.request.platform);
        Ok(CopySource::Vertex(vertex))
    }

    /// Plans the step. `tree` knows where each source is looked for, by its number.
    pub(super) fn copy_parts(
        &mut self,
        stage: &mut StageState,
        parts: &Parts<'_>,
        tree: &dyn Fn(usize) -> Place,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        let flags = parts.flags;
        if let Some((true, span)) = flags.link {
            return Err(PlanError::later(
                span,
                &format!("{} --link", parts.instruction),
            ));
        }
        if let Some(exclude) = flags.exclude.first() {
            return Err(PlanError::later(
                exclude.span,
                &format!("{} --exclude", parts.instruction),
            ));
        }
        let chown = flags
            .chown
            .as_ref()
            .map(|word| self.expand(word, &stage.scope))
            .transpose()?;
        let chmod = flags
            .chmod
            .as_ref()
            .map(|word| self.chmod(stage, word, parts))
            .transpose()?;
        let (written_sources, patterns) = self.patterns(stage, parts, tree)?;
        let verb = if parts.instruction == "ADD" {
            "Add"
        } else {
            "Copy"
        };
        for pattern in &patterns {
            if pattern.source == CopySource::Context(ContextId::MAIN) {
                self.request.checks.source(verb, &pattern.text);
            }
        }
        let inline = self.inline(stage, parts)?;
        let written = self.expand(parts.destination, &stage.scope)?;
        let created_by = created_by(
            parts,
            chown.as_deref(),
            &written_sources,
            &written,
            stage,
            self,
        )?;
        let name = stage.step_name(text);
        let op = CopyOp {
            patterns,
            inline,
            destination: destination(&stage.config.config.working_dir, &written),
            chown,
            chmod,
            unpack: parts.unpack,
            unpack_remote: parts.unpack_remote,
            instruction: parts.instruction,
        };
        let vertex = self.push(Vertex {
            parent: stage.top,
            op: Op::Copy(op),
            span: Some(span),
            name,
            text: text.to_owned(),
        });
        stage.top = Some(vertex);
        stage.record(created_by, Some(vertex));
        Ok(())
    }

    fn patterns(
        &self,
        stage: &StageState,
        parts: &Parts<'_>,
        tree: &dyn Fn(usize) -> Place,
    ) -> Result<(Vec<String>, Vec<CopyPattern>), PlanError> {
        let (mut written, mut patterns) = (Vec::new(), Vec::new());
        for (number, word) in parts.sources.iter().enumerate() {
            let text = self.expand(word, &stage.scope)?;
            let place = tree(number);
            patterns.push(CopyPattern {
                literal: place.path.is_some(),
                text: place.path.unwrap_or_else(|| text.clone()),
                source: place.source,
                span: Some(word.span).filter(|span| *span != Span::default()),
            });
            written.push(text);
        }
        Ok((written, patterns))
    }

    fn inline(&self, stage: &StageState, parts: &Parts<'_>) -> Result<Vec<InlineFile>, PlanError> {
        let expand = |heredoc: &Heredoc| {
            let content = if heredoc.expand {
                let expanded = dockerfile::expand_heredoc(&heredoc.content, &stage.scope)
                    .map_err(|err| PlanError::expand(heredoc.span, &err))?;
                let checks = self.request.checks;
                checks.unset(heredoc.span, &expanded.unmatched, || stage.scope.names());
                expanded.text
            } else {
                heredoc.content.clone()
            };
            Ok(InlineFile {
                name: heredoc.name.clone(),
                content,
            })
        };
        parts.heredocs.iter().map(expand).collect()
    }

    fn chmod(&self, stage: &StageState, word: &Word, parts: &Parts<'_>) -> Result<u32, PlanError> {
        let text = self.expand(word, &stage.scope)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(mode),
            _ if is_symbolic_mode(&text) => Err(PlanError::later(
                word.span,
                &format!("{} --chmod with a symbolic mode", parts.instruction),
            )),
            _ => Err(PlanError::new(
                word.span,
                format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                ),
            )),
        }
    }
}

fn is_symbolic_mode(text: &str) -> bool {
    !text.is_empty()
        && text.contains(['+', '-', '='])
        && text.chars().all(|c| "ugoarwxXst+-=,".contains(c))
}

pub(super) fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// The destination made absolute; keeps the trailing `/` that says directory.
fn destination(working_dir: &str, written: &str) -> String {
    let path = absolute(working_dir, written);
    let is_dir = written.is_empty()
        || written.ends_with('/')
        || written == "."
        || written == ".."
        || written.ends_with("/.")
        || written.ends_with("/..");
    if is_dir && path != "/" {
        format!("{path}/")
    } else {
        path
    }
}

fn created_by(
    parts: &Parts<'_>,
    chown: Option<&str>,
    sources: &[String],
    destination: &str,
    stage: &StageState,
    planner: &Planner<'_, '_>,
) -> Result<String, PlanError> {
    let mut text = parts.instruction.to_owned();
    if let Some(chown) = chown {
        text.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &parts.flags.chmod {
        text.push_str(&format!(
            " --chmod={}",
            planner.expand(chmod, &stage.scope)?
        ));
    }
    for source in sources {
        text.push_str(&format!(" {source}"));
    }
    for heredoc in parts.heredocs {
        text.push_str(&format!(" <<{}", heredoc.name));
    }
    text.push_str(&format!(" {destination} # buildkit"));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_is_kept() {
        assert_eq!(destination("/", "a"), "/a");
        assert_eq!(destination("/w", "a/"), "/w/a/");
        assert_eq!(destination("/w", "."), "/w/");
        assert_eq!(destination("/", "."), "/");
        assert_eq!(destination("/t5/t6", "../"), "/t5/");
        assert_eq!(destination("/w", ""), "/w/");
    }
}
