//! One stage: its base, and what its instructions have made of it so far.

use super::cut::Position;
use super::error::PlanError;
use super::scope::Variables;
use super::{Planner, error};
use crate::build::graph::{BaseImage, HistoryItem, VertexId};
use crate::dockerfile::{self, Instruction, Located, Span};
use crate::oci::{ContainerConfig, History, ImageConfig, Platform};

/// The search path of an image that sets none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage is after some of its instructions.
#[derive(Debug, Clone)]
pub(super) struct StageState {
    /// The step with its tree.
    pub(super) top: Option<VertexId>,
    /// The image that its tree begins with.
    pub(super) base: Option<BaseImage>,
    /// Its configuration, without `rootfs` and `history`.
    pub(super) config: ImageConfig,
    /// The base image's history.
    pub(super) base_history: Vec<History>,
    /// What its own instructions did, those of the stages it comes from included.
    pub(super) history: Vec<HistoryItem>,
    /// ENV and ARG, as words and RUN steps see them.
    pub(super) scope: Variables,
    /// ARGs declared, in order, with their values.
    pub(super) args: Vec<(String, Option<String>)>,
    /// Whether CMD stands in this very stage: ENTRYPOINT then leaves it alone.
    pub(super) cmd_set: bool,
    /// The name that progress shows.
    pub(super) label: String,
    /// How many steps progress counts, and how many it has shown.
    pub(super) steps: (usize, usize),
}

impl StageState {
    /// Adds a line to the history.
    pub(super) fn record(&mut self, created_by: String, vertex: Option<VertexId>) {
        self.history.push(HistoryItem { created_by, vertex });
    }

    /// `[build 2/5] RUN make`; counts.
    pub(super) fn step_name(&mut self, text: &str) -> String {
        let (done, all) = &mut self.steps;
        *done += 1;
        format!("[{}{done}/{all}] {text}", self.label)
    }

    /// The shell of shell-form instructions.
    pub(super) fn shell(&self) -> Vec<String> {
        if self.config.config.shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            self.config.config.shell.clone()
        }
    }
}

impl Planner<'_, '_> {
    /// Plans a stage and the stages that it needs.
    pub(super) fn plan_stage(&mut self, index: usize) -> Result<(), PlanError> {
        if self.stages[index].is_some() {
            return Ok(());
        }
        let dockerfile = self.request.dockerfile;
        let definition = &dockerfile.stages[index];
        if self.open.contains(&index) {
            let name = definition.from.value.name.as_ref();
            let name = name.map_or_else(|| index.to_string(), |name| name.text.clone());
            return Err(PlanError::new(
                definition.from.span,
                format!("circular dependency detected on stage: {name}"),
            ));
        }
        self.open.push(index);
        let mut stage = self.start_stage(index)?;
        let triggers = std::mem::take(&mut stage.config.config.on_build);
        let triggers = parse_triggers(&triggers, definition.from.span)?;
        let instructions = || {
            let own = definition.instructions.iter().map(|own| (own, true));
            triggers.iter().map(|trigger| (trigger, false)).chain(own)
        };
        // Only an image is a step of the stage that names it.
        let first = usize::from(stage.steps.0 == 1);
        let own = instructions().filter(|(one, _)| makes_step(&one.value));
        stage.steps = (first, first + own.count());
        self.skip_places();
        let mut ended = self.ends_with_from(index, &mut stage)?;
        for (at, (instruction, own)) in instructions().enumerate() {
            if ended {
                break;
            }
            let position = Position {
                stage: index,
                at,
                own: own.then(|| at - triggers.len()),
                span: if own {
                    instruction.span
                } else {
                    definition.from.span
                },
            };
            ended = self.pass(position, instruction, &mut stage)?;
        }
        if !ended {
            self.reach_end(index, &mut stage)?;
        }
        self.open.pop();
        self.stages[index] = Some(stage);
        Ok(())
    }

    /// The state that `FROM` gives.
    fn start_stage(&mut self, index: usize) -> Result<StageState, PlanError> {
        let definition = &self.request.dockerfile.stages[index];
        let from = &definition.from.value;
        if let Some(after) = from.after.first() {
            return Err(PlanError::later(after.span, "FROM --after"));
        }
        let scope = Variables::from(self.globals.clone());
        let base = self.expand(&from.base, &scope)?;
        if base.is_empty() {
            return Err(PlanError::new(
                from.base.span,
                format!("base name ({}) should not be blank", from.base.text),
            ));
        }
        if let Some(platform) = &from.platform {
            self.check_platform(platform, &scope)?;
        }
        let label = match &from.name {
            Some(name) => format!("{} ", name.text.to_lowercase()),
            None if self.request.dockerfile.stages.len() > 1 => format!("stage-{index} "),
            None => String::new(),
        };
        if base == "scratch" {
            return Ok(self.scratch(label));
        }
        if let Some(other) = self.stage_by_name(&base, index) {
            self.plan_stage(other)?;
            let mut stage = self.stages[other]
                .clone()
                .expect("the stage was just planned");
            stage.cmd_set = false;
            stage.steps = (0, 0);
            stage.label = label;
            return Ok(stage);
        }
        let count = 1 + definition
            .instructions
            .iter()
            .filter(|one| makes_step(&one.value))
            .count();
        let title = |image: &BaseImage| format!("[{label}1/{count}] FROM {}", image.reference);
        let (image, top) = self.image(&base, Some(definition.from.span), title)?;
        let mut stage = self.scratch(label);
        stage.top = top;
        stage.steps = (1, 1);
        stage.scope = Variables::from_lines(&image.config.config.env);
        stage.base_history.clone_from(&image.config.history);
        stage.config = ImageConfig {
            history: Vec::new(),
            ..image.config.clone()
        };
        default_path(&mut stage);
        stage.base = Some(image);
        Ok(stage)
    }

    fn scratch(&self, label: String) -> StageState {
        let platform = self.request.platform;
        let mut stage = StageState {
            top: None,
            base: None,
            config: ImageConfig {
                architecture: platform.architecture.clone(),
                os: platform.os.clone(),
                variant: platform.variant.clone(),
                config: ContainerConfig {
                    working_dir: "/".to_owned(),
                    ..Default::default()
                },
                ..Default::default()
            },
            base_history: Vec::new(),
            history: Vec::new(),
            scope: Variables::new(),
            args: Vec::new(),
            cmd_set: false,
            label,
            steps: (0, 0),
        };
        default_path(&mut stage);
        stage
    }

    fn check_platform(
        &mut self,
        word: &dockerfile::Word,
        scope: &Variables,
    ) -> Result<(), PlanError> {
        let text = self.expand(word, scope)?;
        let platform: Platform = text.parse().map_err(|err| {
            PlanError::new(word.span, format!("failed to parse platform {text}: {err}"))
        })?;
        let host = Platform::host();
        if (&platform.os, &platform.architecture) == (&host.os, &host.architecture) {
            return Ok(());
        }
        Err(
            PlanError::new(word.span, format!("cannot build for {platform} on {host}")).with_hint(
                Some(
                    "this version builds for the platform that it runs on; leave `--platform` out"
                        .to_owned(),
                ),
            ),
        )
    }

    /// Expands a word of an instruction.
    pub(super) fn expand(
        &self,
        word: &dockerfile::Word,
        scope: &Variables,
    ) -> Result<String, PlanError> {
        let escape = self.request.dockerfile.escape.unwrap_or('\\');
        dockerfile::expand(&word.text, escape, scope)
            .map(|expanded| expanded.text)
            .map_err(|err| PlanError::expand(word.span, &err))
    }

    /// The stage that `--from` names, planned; `None` when it names no stage.
    pub(super) fn stage_named(
        &mut self,
        index: usize,
        word: &dockerfile::Word,
    ) -> Result<Option<usize>, PlanError> {
        let name = word.text.as_str();
        let found = match name.parse::<usize>() {
            Ok(number) if number < index => Some(number),
            Ok(number) => {
                return Err(PlanError::new(
                    word.span,
                    format!("invalid stage index {number}: only earlier stages can be copied from"),
                ));
            }
            Err(_) => self.stage_by_name(name, index),
        };
        if found.is_none() {
            let stages = &self.request.dockerfile.stages;
            let later = self.stage_by_name(name, stages.len());
            if later.is_some_and(|later| later >= index) {
                let own = stages[index].from.value.name.as_ref();
                let own = own.map_or_else(|| index.to_string(), |own| own.text.clone());
                return Err(PlanError::new(
                    word.span,
                    format!(
                        "cannot copy from stage {name:?}, it needs to be defined before current stage {own:?}"
                    ),
                ));
            }
        }
        if let Some(found) = found {
            self.plan_stage(found)?;
        }
        Ok(found)
    }

    /// The names of the stages before `index`, for suggestions.
    pub(super) fn suggest_stage(&self, name: &str, index: usize) -> Option<String> {
        let stages = &self.request.dockerfile.stages[..index];
        let names: Vec<&str> = stages
            .iter()
            .filter_map(|stage| stage.from.value.name.as_ref())
            .map(|name| name.text.as_str())
            .collect();
        error::nearest(name, &names)
    }
}

fn default_path(stage: &mut StageState) {
    if stage.scope.value("PATH").is_none() {
        stage.scope.set("PATH", DEFAULT_PATH);
        stage.config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
}

/// Whether an instruction yields a tree, and so is counted by progress.
pub(super) fn makes_step(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
    )
}

/// The `ONBUILD` triggers of a base image, parsed.
fn parse_triggers(texts: &[String], span: Span) -> Result<Vec<Located<Instruction>>, PlanError> {
    let parse = |text: &String| {
        dockerfile::parse_trigger(text).map_err(|diagnostics| {
            let why = diagnostics
                .first()
                .map_or("malformed", |first| first.message.as_str());
            PlanError::new(
                span,
                format!("ONBUILD trigger of the base image, `{text}`: {why}"),
            )
        })
    };
    texts.iter().map(parse).collect()
}
