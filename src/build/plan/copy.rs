//! COPY and ADD to their operation.

use super::Planner;
use super::error::PlanError;
use super::instructions::absolute;
use super::stage::StageState;
use crate::build::chmod::{BadMode, Chmod};
use crate::build::graph::{
    ContextId, CopyOp, CopyPattern, CopySource, InlineFile, LinkOp, Op, Vertex,
};
use crate::context::Patterns;
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
    pub(super) parents: bool,
}

/// What history shows of an instruction, expanded.
struct Words {
    chown: Option<String>,
    chmod: Option<String>,
    sources: Vec<String>,
    destination: String,
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
            parents: copy.parents.is_some_and(|(parents, _)| parents),
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
        let (sources, patterns) = self.patterns(stage, parts, tree)?;
        let words = Words {
            sources,
            chown: self.flag(stage, flags.chown.as_ref())?,
            chmod: self.flag(stage, flags.chmod.as_ref())?,
            destination: self.expand(parts.destination, &stage.scope)?,
        };
        let chmod = flags.chmod.as_ref().zip(words.chmod.as_deref());
        let chmod = chmod.map(|(word, text)| chmod_of(word, text)).transpose()?;
        // BuildKit makes a link of no instruction that changes modes, and on nothing
        // there is nothing to link to.
        let is_link = flags.link.is_some_and(|(link, _)| link) && chmod.is_none();
        let base = stage.top.filter(|_| is_link);
        self.check_sources(parts, &patterns);
        let op = CopyOp {
            patterns,
            inline: self.inline(stage, parts)?,
            destination: destination(&stage.config.config.working_dir, &words.destination),
            users: base.filter(|_| words.chown.as_deref().is_some_and(names_users)),
            chown: words.chown.clone(),
            chmod,
            exclude: self.exclude(stage, &flags.exclude)?,
            parents: parts.parents,
            unpack: parts.unpack,
            unpack_remote: parts.unpack_remote,
            instruction: parts.instruction,
        };
        let created_by = created_by(parts, &words);
        let mut vertex = self.push(Vertex {
            parent: stage.top.filter(|_| base.is_none()),
            op: Op::Copy(op),
            span: Some(span),
            name: stage.step_name(text),
            text: text.to_owned(),
        });
        if base.is_some() {
            let text = format!("LINK {text}");
            vertex = self.push(Vertex {
                parent: base,
                op: Op::Link(LinkOp { layer: vertex }),
                span: Some(span),
                name: stage.part_name(&text),
                text,
            });
        }
        stage.top = Some(vertex);
        stage.record(created_by, Some(vertex));
        Ok(())
    }

    /// Looks whether the ignore file leaves out what is named.
    fn check_sources(&self, parts: &Parts<'_>, patterns: &[CopyPattern]) {
        let verb = if parts.instruction == "ADD" {
            "Add"
        } else {
            "Copy"
        };
        for pattern in patterns {
            if pattern.source == CopySource::Context(ContextId::MAIN) {
                self.request.checks.source(verb, &pattern.text);
            }
        }
    }

    /// The value of a flag, expanded; an empty one is none.
    fn flag(&self, stage: &StageState, word: Option<&Word>) -> Result<Option<String>, PlanError> {
        let value = word.map(|word| self.expand(word, &stage.scope));
        Ok(value.transpose()?.filter(|value| !value.is_empty()))
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

    fn exclude(&self, stage: &StageState, words: &[Word]) -> Result<Vec<String>, PlanError> {
        let expand = |word: &Word| {
            let text = self.expand(word, &stage.scope)?;
            match Patterns::new(std::slice::from_ref(&text)) {
                Ok(_) => Ok(text),
                Err(err) => Err(PlanError::new(
                    word.span,
                    format!("invalid excludepatterns: [{text}]: {err}"),
                )),
            }
        };
        words.iter().map(expand).collect()
    }
}

fn chmod_of(word: &Word, text: &str) -> Result<Chmod, PlanError> {
    Chmod::parse(text).map_err(|err| match err {
        BadMode::Number => PlanError::new(
            word.span,
            format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            ),
        ),
        BadMode::Syntax => PlanError::new(word.span, "invalid syntax").with_hint(Some(format!(
            "`{text}` is no mode; write it as 0644 or as u=rwX,go=rX"
        ))),
    })
}

/// Whether any part of `--chown` has to be looked up.
fn names_users(chown: &str) -> bool {
    let mut parts = chown.splitn(2, ':').filter(|part| !part.is_empty());
    parts.any(|part| part.parse::<u32>().is_err())
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

fn created_by(parts: &Parts<'_>, words: &Words) -> String {
    let mut text = parts.instruction.to_owned();
    if parts.parents {
        text.push_str(" --parents");
    }
    if let Some(chown) = &words.chown {
        text.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &words.chmod {
        text.push_str(&format!(" --chmod={chmod}"));
    }
    for source in &words.sources {
        text.push_str(&format!(" {source}"));
    }
    for heredoc in parts.heredocs {
        text.push_str(&format!(" <<{}", heredoc.name));
    }
    text.push_str(&format!(" {} # buildkit", words.destination));
    text
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
