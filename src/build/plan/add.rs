//! ADD: local files, downloads and git repositories, mixed as one likes.

use super::Planner;
use super::copy::{Parts, Place, is_url};
use super::error::PlanError;
use super::stage::StageState;
use crate::build::graph::{ContextId, CopySource, HttpOp, Op};
use crate::dockerfile::{self, Add, GitReference, Span, Word};
use crate::remote::http::{UNNAMED, address, file_name};
use crate::remote::{Checksum, git};

/// What a source of ADD is.
enum Kind {
    Local,
    Url,
    Git(Box<GitReference>),
}

impl Planner<'_, '_> {
    pub(super) fn add(
        &mut self,
        stage: &mut StageState,
        add: &Add,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        let checksum = match &add.checksum {
            None => None,
            Some(word) => Some((self.expand(word, &stage.scope)?, word.span)),
        };
        let kinds: Vec<(String, Kind)> = add
            .sources
            .iter()
            .map(|word| self.kind(stage, word))
            .collect::<Result<_, _>>()?;
        if let Some((checksum, span)) = checksum.as_ref().filter(|(text, _)| !text.is_empty()) {
            check_checksum(checksum, *span, &kinds, add)?;
        }
        let checksum = checksum
            .map(|(text, _)| text)
            .filter(|text| !text.is_empty());
        let title = stage.next_step_name(text);
        let mut places = Vec::new();
        for ((source, kind), word) in kinds.iter().zip(&add.sources) {
            let title = if kinds.len() == 1 {
                title.clone()
            } else {
                format!("{title} ({source})")
            };
            places.push(match kind {
                Kind::Local => Place::of(CopySource::Context(ContextId::MAIN)),
                Kind::Url => self.add_url(source, checksum.as_deref(), title, word.span)?,
                Kind::Git(reference) => {
                    self.add_git(reference, add, checksum.as_deref(), title, word.span)?
                }
            });
        }
        let explicit = add.unpack.map(|(unpack, _)| unpack);
        let parts = Parts {
            instruction: "ADD",
            flags: &add.flags,
            sources: &add.sources,
            heredocs: &add.heredocs,
            destination: &add.destination,
            parents: false,
            unpack: explicit.unwrap_or(true),
            unpack_remote: explicit.unwrap_or(false)
                && kinds.iter().any(|(_, kind)| matches!(kind, Kind::Url)),
        };
        self.copy_parts(stage, &parts, &|number| places[number].clone(), text, span)
    }

    fn kind(&self, stage: &StageState, word: &Word) -> Result<(String, Kind), PlanError> {
        let text = self.expand(word, &stage.scope)?;
        let git = dockerfile::git_reference(&text).map_err(|why| PlanError::new(word.span, why))?;
        let kind = match git {
            Some(git) if !git.indistinguishable_from_local => Kind::Git(Box::new(git)),
            _ if is_url(&text) => Kind::Url,
            _ => Kind::Local,
        };
        Ok((text, kind))
    }

    fn add_url(
        &mut self,
        source: &str,
        checksum: Option<&str>,
        title: String,
        span: Span,
    ) -> Result<Place, PlanError> {
        let url = address(source).map_err(|err| PlanError::new(span, err.to_string()))?;
        let checksum: Option<Checksum> = checksum.map(str::parse).transpose().map_err(
            |err: crate::remote::ParseChecksumError| PlanError::new(span, err.to_string()),
        )?;
        let name = file_name(&url).unwrap_or_else(|| UNNAMED.to_owned());
        let op = HttpOp {
            url,
            name: name.clone(),
            checksum,
        };
        let vertex = self.remote(Op::Http(op), title, span);
        Ok(Place {
            source: CopySource::Vertex(Some(vertex)),
            path: Some(name),
        })
    }

    fn add_git(
        &mut self,
        reference: &GitReference,
        add: &Add,
        checksum: Option<&str>,
        title: String,
        span: Span,
    ) -> Result<Place, PlanError> {
        let mut source = git::Source::new(reference);
        match (add.keep_git_dir, reference.keep_git_dir) {
            (Some((flag, _)), Some(query)) if flag != query => {
                return Err(PlanError::new(
                    span,
                    "inconsistent keep-git-dir configuration",
                ));
            }
            (flag, query) => {
                source.keep_git_dir = query.or(flag.map(|(flag, _)| flag)).unwrap_or(false);
            }
        }
        match (checksum, &reference.checksum) {
            (Some(flag), Some(query)) if flag != query => {
                return Err(PlanError::new(
                    span,
                    format!("checksum mismatch {flag:?} != {query:?}"),
                ));
            }
            (flag, query) => source.checksum = query.clone().or(flag.map(str::to_owned)),
        }
        let vertex = self.remote(Op::Git(source), title, span);
        Ok(Place {
            source: CopySource::Vertex(Some(vertex)),
            path: Some("/".to_owned()),
        })
    }
}

fn check_checksum(
    checksum: &str,
    span: Span,
    kinds: &[(String, Kind)],
    add: &Add,
) -> Result<(), PlanError> {
    if kinds.len() != 1 || !add.heredocs.is_empty() && kinds.is_empty() {
        return Err(PlanError::new(
            span,
            "checksum can't be specified for multiple sources",
        ));
    }
    match kinds[0].1 {
        Kind::Local => Err(PlanError::new(
            span,
            "checksum requires HTTP(S) or Git sources",
        )),
        Kind::Url => checksum
            .parse::<Checksum>()
            .map(drop)
            .map_err(|err| PlanError::new(span, err.to_string())),
        Kind::Git(_) => Ok(()),
    }
}
