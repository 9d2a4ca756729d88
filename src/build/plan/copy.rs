//! COPY and ADD to their operation.

use super::Planner;
use super::error::PlanError;
use super::instructions::absolute;
use super::stage::StageState;
use crate::build::graph::{ContextId, CopyOp, CopyPattern, CopySource, InlineFile, Op, Vertex};
use crate::dockerfile::{self, Add, Copy, CopyFlags, Heredoc, Span, Word};

/// What COPY and ADD have in common.
struct Parts<'a> {
    instruction: &'static str,
    flags: &'a CopyFlags,
    sources: &'a [Word],
    heredocs: &'a [Heredoc],
    destination: &'a Word,
    unpack: bool,
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
            if is_url(&self.expand(source, &stage.scope)?) {
                return Err(
                    PlanError::new(source.span, "source can't be a URL for COPY")
                        .with_hint(Some("use ADD".to_owned())),
                );
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
        };
        self.copy_parts(stage, &parts, &|_| source, text, span)
    }

    pub(super) fn add(
        &mut self,
        stage: &mut StageState,
        add: &Add,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        if let Some(checksum) = &add.checksum {
            return Err(PlanError::later(checksum.span, "ADD --checksum"));
        }
        if let Some((_, span)) = add.keep_git_dir {
            return Err(PlanError::later(span, "ADD --keep-git-dir"));
        }
        for source in &add.sources {
            let text = self.expand(source, &stage.scope)?;
            if is_url(&text) || dockerfile::git_reference(&text).is_ok_and(|found| found.is_some())
            {
                return Err(PlanError::later(
                    source.span,
                    "ADD of a URL or git repository",
                ));
            }
        }
        let parts = Parts {
            instruction: "ADD",
            flags: &add.flags,
            sources: &add.sources,
            heredocs: &add.heredocs,
            destination: &add.destination,
            unpack: add.unpack.is_none_or(|(unpack, _)| unpack),
        };
        let context = |_: usize| CopySource::Context(ContextId::MAIN);
        self.copy_parts(stage, &parts, &context, text, span)
    }

    /// The tree that `--from` names: an earlier stage, or else an image.
    pub(super) fn copy_from(&mut self, index: usize, from: &Word) -> Result<CopySource, PlanError> {
        if from.text.contains('$') {
            return Err(PlanError::new(
                from.span,
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from \
                 global scope as a workaround",
            ));
        }
        if let Some(stage) = self.stage_named(index, from)? {
            let stage = self.stages[stage]
                .as_ref()
                .expect("the stage was just planned");
            return Ok(CopySource::Vertex(stage.top));
        }
        if from.text == "scratch" {
            return Ok(CopySource::Vertex(None));
        }
        let hint = self.suggest_stage(&from.text, index);
        let title = |image: &super::BaseImage| format!("FROM {}", image.reference);
        let (_, vertex) = self
            .image(&from.text, Some(from.span), title)
            .map_err(|err| {
                if hint.is_some() {
                    err.with_hint(hint)
                } else {
                    err
                }
            })?;
        Ok(CopySource::Vertex(vertex))
    }

    /// Plans the step. `tree` knows where each source is looked for, by its number.
    fn copy_parts(
        &mut self,
        stage: &mut StageState,
        parts: &Parts<'_>,
        tree: &dyn Fn(usize) -> CopySource,
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
        let patterns = self.patterns(stage, parts, tree)?;
        let inline = Self::inline(stage, parts)?;
        let written = self.expand(parts.destination, &stage.scope)?;
        let created_by = created_by(parts, chown.as_deref(), &patterns, &written, stage, self)?;
        let name = stage.step_name(text);
        let op = CopyOp {
            patterns,
            inline,
            destination: destination(&stage.config.config.working_dir, &written),
            chown,
            chmod,
            unpack: parts.unpack,
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
        tree: &dyn Fn(usize) -> CopySource,
    ) -> Result<Vec<CopyPattern>, PlanError> {
        let expand = |(number, word): (usize, &Word)| {
            let text = self.expand(word, &stage.scope)?;
            Ok(CopyPattern {
                text,
                literal: false,
                source: tree(number),
                span: Some(word.span).filter(|span| *span != Span::default()),
            })
        };
        parts.sources.iter().enumerate().map(expand).collect()
    }

    fn inline(stage: &StageState, parts: &Parts<'_>) -> Result<Vec<InlineFile>, PlanError> {
        let expand = |heredoc: &Heredoc| {
            let content = if heredoc.expand {
                dockerfile::expand_heredoc(&heredoc.content, &stage.scope)
                    .map_err(|err| PlanError::expand(heredoc.span, &err))?
                    .text
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
    patterns: &[CopyPattern],
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
    for pattern in patterns {
        text.push_str(&format!(" {}", pattern.text));
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
