//! What a target can be given and what it needs: arguments, secrets, agents,
//! cache mounts.
//!
//! Source: the `outline` request of BuildKit's Dockerfile frontend.

use std::collections::{BTreeMap, BTreeSet};

use super::stage::StageState;
use super::{Planner, args};
use crate::dockerfile::{self, Instruction, MountKind, Span};

/// What a target can be given and what it needs, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, where it has one.
    pub name: Option<String>,
    /// The comment that describes the target.
    pub description: Option<String>,
    /// Arguments that are used on the way to the target.
    pub args: Vec<OutlineArg>,
    /// Secrets that its steps ask for.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents that its steps ask for.
    pub ssh: Vec<OutlineMount>,
    /// Cache mounts of its steps.
    pub caches: Vec<OutlineMount>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value, given or by default; empty for none.
    pub value: String,
    /// The comment that describes it.
    pub description: Option<String>,
    /// Its `ARG`.
    pub span: Span,
}

/// A secret, an SSH agent or a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its ID.
    pub id: String,
    /// Whether the step fails without it.
    pub is_required: bool,
    /// The first instruction that asks for it.
    pub span: Span,
}

/// What one stage uses itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    names: BTreeSet<String>,
    /// Arguments that the stage gives a value of its own, by name.
    own: BTreeMap<String, OutlineArg>,
    secrets: Vec<OutlineMount>,
    ssh: Vec<OutlineMount>,
    caches: Vec<OutlineMount>,
}

impl Planner<'_, '_> {
    /// Notes what an instruction uses, once it was planned.
    pub(super) fn note_used(
        &mut self,
        index: usize,
        stage: &StageState,
        instruction: &Instruction,
        span: Span,
    ) {
        if !self.request.is_check {
            return;
        }
        match instruction {
            Instruction::Arg(args) => {
                for arg in args {
                    let name = arg.name.text.clone();
                    let is_given = self.request.build_args.contains_key(&name);
                    let used = self.used.entry(index).or_default();
                    used.names.insert(name.clone());
                    // One without a value of its own is the global one.
                    if is_given || arg.default.is_some() || self.globals.value(&name).is_none() {
                        let arg = OutlineArg {
                            value: stage.scope.value(&name).unwrap_or_default().to_owned(),
                            description: arg.description.clone(),
                            name: name.clone(),
                            span,
                        };
                        used.own.insert(name, arg);
                    }
                }
            }
            Instruction::Run(run) => {
                for mount in &run.flags.mounts {
                    self.note_mount(index, stage, mount, span);
                }
            }
            _ => {}
        }
    }

    fn note_mount(
        &mut self,
        index: usize,
        stage: &StageState,
        word: &dockerfile::Word,
        span: Span,
    ) {
        let expand = |text: &str| {
            let escape = self.request.dockerfile.escape.unwrap_or('\\');
            dockerfile::expand(text, escape, &stage.scope)
                .map(|expanded| expanded.text)
                .map_err(|err| err.to_string())
        };
        let Ok(options) = dockerfile::mount_options_with(&word.text, &expand) else {
            return;
        };
        let used = self.used.entry(index).or_default();
        let target = options.target.as_deref().unwrap_or_default();
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (list, id) = match options.kind {
            MountKind::Secret => {
                let id = options.source.clone().or(options.id.clone());
                (&mut used.secrets, id.unwrap_or_else(|| last(target)))
            }
            MountKind::Ssh => {
                let id = options.id.clone();
                (&mut used.ssh, id.unwrap_or_else(|| "default".to_owned()))
            }
            MountKind::Cache => {
                let id = options.id.clone();
                (&mut used.caches, id.unwrap_or_else(|| target.to_owned()))
            }
            MountKind::Bind | MountKind::Tmpfs => return,
        };
        if !list.iter().any(|known| known.id == id) {
            list.push(OutlineMount {
                id,
                is_required: options.required,
                span,
            });
        }
    }

    /// The outline of a target; `needed` are the stages that it is made of.
    pub(super) fn outline(&self, target: usize, needed: &[usize]) -> Outline {
        let stage = &self.request.dockerfile.stages[target];
        let mut outline = Outline {
            name: stage.from.value.name.as_ref().map(|name| name.text.clone()),
            description: stage.description.clone(),
            ..Outline::default()
        };
        let (globals, uses) = args::outline(self.request);
        let none = Used::default();
        // From the target upwards: what stands nearest to it counts.
        for index in needed.iter().rev() {
            let used = self.used.get(index).unwrap_or(&none);
            let mut names = used.names.clone();
            names.extend(self.names_in_from(*index));
            with_uses(&mut names, &uses);
            for name in names {
                let arg = used.own.get(&name).or_else(|| globals.get(&name));
                let is_known = outline.args.iter().any(|known| known.name == name);
                outline.args.extend(arg.filter(|_| !is_known).cloned());
            }
            add_new(&mut outline.secrets, &used.secrets);
            add_new(&mut outline.ssh, &used.ssh);
            add_new(&mut outline.caches, &used.caches);
        }
        outline.args.sort_by_key(|arg| arg.span.start);
        for list in [&mut outline.secrets, &mut outline.ssh, &mut outline.caches] {
            list.sort_by_key(|mount| mount.span.start);
        }
        outline
    }

    fn names_in_from(&self, index: usize) -> Vec<String> {
        let from = &self.request.dockerfile.stages[index].from.value;
        let escape = self.request.dockerfile.escape.unwrap_or('\\');
        let words = [Some(&from.base), from.platform.as_ref()];
        let expanded = words.into_iter().flatten().filter_map(|word| {
            let expanded = dockerfile::expand(&word.text, escape, &self.globals);
            Some(expanded.ok()?.matched)
        });
        expanded.flatten().collect()
    }
}

/// Adds the arguments that stand in the defaults of those that are used.
fn with_uses(names: &mut BTreeSet<String>, uses: &BTreeMap<String, Vec<String>>) {
    let mut waiting: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = waiting.pop() {
        for used in uses.get(&name).into_iter().flatten() {
            if names.insert(used.clone()) {
                waiting.push(used.clone());
            }
        }
    }
}

fn add_new(list: &mut Vec<OutlineMount>, more: &[OutlineMount]) {
    for mount in more {
        if !list.iter().any(|known| known.id == mount.id) {
            list.push(mount.clone());
        }
    }
}
