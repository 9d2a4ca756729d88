//! Contexts by name: what they replace, and the steps that they are.

use std::collections::BTreeMap;

use super::stage::StageState;
use super::{PlanError, Planner};
use crate::build::BuildRequest;
use crate::build::graph::{
    ContextId, CopyOp, CopyPattern, CopySource, HttpOp, Op, Vertex, VertexId,
};
use crate::build::input::Input;
use crate::build::request::context_name;
use crate::dockerfile::Span;
use crate::oci::Platform;
use crate::remote::git;

/// A context by name, ready to be planned with.
#[derive(Debug, Clone)]
pub(in crate::build) enum Named {
    /// Nothing: `docker-image://scratch`.
    Empty,
    /// A local directory.
    Local(ContextId),
    /// An image by reference or ID.
    Image(String),
    /// A file on a web server.
    Http(HttpOp),
    /// A tree in a git repository.
    Git(git::Source),
    /// A stage of the Dockerfile.
    Stage(String),
}

/// What the command line adds to a Dockerfile.
#[derive(Debug, Clone, Default)]
pub(in crate::build) struct Choices {
    /// Contexts by name.
    pub(in crate::build) contexts: BTreeMap<String, Named>,
    /// Stages whose steps may not come from the cache.
    pub(in crate::build) uncached: Vec<String>,
    /// Stages that must succeed beside the target.
    pub(in crate::build) also: Vec<String>,
}

impl Choices {
    /// What a request adds, with the contexts that were opened for it.
    pub(in crate::build) fn of(request: &BuildRequest, input: &Input) -> Self {
        Self {
            contexts: input.named.clone(),
            uncached: request.no_cache_filter.clone(),
            also: request.also_targets.clone(),
        }
    }
}

/// What a name stands for.
pub(super) enum Found {
    /// A stage, planned.
    Stage(usize),
    /// A tree with its configuration.
    State(Box<StageState>),
}

impl Planner<'_, '_> {
    /// The context that replaces `name` on `platform`, if there is one.
    pub(super) fn context(&self, name: &str, platform: &Platform) -> Option<Named> {
        let contexts = &self.request.choices.contexts;
        if contexts.is_empty() {
            return None;
        }
        let name = context_name(name);
        let found = contexts
            .get(&format!("{name}::{platform}"))
            .or_else(|| contexts.get(&name))?;
        match found {
            // A stage that was given its own name is that stage.
            Named::Stage(stage) if context_name(stage) == name => None,
            found => Some(found.clone()),
        }
    }

    /// A stage that begins, and maybe ends, with a context.
    pub(super) fn context_state(
        &mut self,
        name: &str,
        named: &Named,
        platform: &Platform,
        label: String,
        span: Span,
    ) -> Result<Found, PlanError> {
        let mut state = Self::scratch(label, platform);
        match named {
            Named::Empty => {}
            Named::Stage(stage) => {
                let index = self
                    .stage_or_number(stage)
                    .ok_or_else(|| self.no_such_stage(stage))?;
                self.plan_stage(index)?;
                return Ok(Found::Stage(index));
            }
            Named::Image(reference) => {
                let title = |_: &super::BaseImage| format!("[context {name}] {reference}");
                let (image, top) = self.image(reference, platform, Some(span), title)?;
                state.take_image(image, top);
            }
            Named::Local(id) => {
                let top = self.local(name, *id, span);
                state.top = Some(top);
                // Its layer is one that no instruction made.
                state.record(String::new(), Some(top));
            }
            Named::Http(op) => {
                let top = self.remote(
                    Op::Http(op.clone()),
                    format!("[context {name}] {}", op.url),
                    span,
                );
                state.top = Some(top);
                state.record(String::new(), Some(top));
            }
            Named::Git(source) => {
                let title = format!("[context {name}] {}", source.shown());
                let top = self.remote(Op::Git(source.clone()), title, span);
                state.top = Some(top);
                state.record(String::new(), Some(top));
            }
        }
        Ok(Found::State(Box::new(state)))
    }

    /// Where COPY finds what `--from` names, when it names a context.
    pub(super) fn context_source(
        &mut self,
        name: &str,
        span: Span,
    ) -> Result<Option<CopySource>, PlanError> {
        let platform = self.platform.clone();
        let Some(named) = self.context(name, &platform) else {
            return Ok(None);
        };
        if let Named::Local(id) = named {
            return Ok(Some(CopySource::Context(id)));
        }
        let top = match self.context_state(name, &named, &platform, String::new(), span)? {
            Found::Stage(index) => self.planned(index).top,
            Found::State(state) => state.top,
        };
        Ok(Some(CopySource::Vertex(top)))
    }

    /// A whole local context as a tree of its own, made once.
    fn local(&mut self, name: &str, id: ContextId, span: Span) -> VertexId {
        let is_it = |vertex: &Vertex| {
            vertex.parent.is_none()
                && matches!(&vertex.op, Op::Copy(op) if op.destination == "/" && op.patterns.len() == 1
                    && op.patterns[0].source == CopySource::Context(id) && op.patterns[0].text == "/")
        };
        if let Some(index) = self.vertices.iter().position(is_it) {
            return VertexId(index);
        }
        let op = CopyOp {
            users: None,
            exclude: Vec::new(),
            parents: false,
            patterns: vec![CopyPattern {
                text: "/".to_owned(),
                literal: true,
                source: CopySource::Context(id),
                span: None,
            }],
            inline: Vec::new(),
            destination: "/".to_owned(),
            chown: None,
            chmod: None,
            unpack: false,
            unpack_remote: false,
            instruction: "COPY",
        };
        self.push(Vertex {
            parent: None,
            op: Op::Copy(op),
            span: Some(span),
            name: format!("[context {name}] load from client"),
            text: format!("context {name}"),
        })
    }

    /// The step that fetches something, made once.
    pub(super) fn remote(&mut self, op: Op, name: String, span: Span) -> VertexId {
        let same = |vertex: &Vertex| match (&vertex.op, &op) {
            (Op::Http(own), Op::Http(other)) => own == other,
            (Op::Git(own), Op::Git(other)) => own == other,
            _ => false,
        };
        if let Some(index) = self.vertices.iter().position(same) {
            return VertexId(index);
        }
        let text = match &op {
            Op::Http(op) => format!("download {}", op.url),
            Op::Git(source) => format!("fetch {}", source.shown()),
            _ => String::new(),
        };
        self.push(Vertex {
            parent: None,
            op,
            span: Some(span),
            name,
            text,
        })
    }
}
