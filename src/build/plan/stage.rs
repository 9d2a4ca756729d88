//! One stage: its base, and what its instructions have made of it so far.

use super::checks::StageChecks;
use super::contexts::Found;
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
    /// What its programs are made for.
    pub(super) platform: Platform,
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
    /// What the build checks remember of it.
    pub(super) checks: StageChecks,
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
        let name = self.next_step_name(text);
        self.steps.0 += 1;
        name
    }

    /// The name that the next step is going to have.
    pub(super) fn next_step_name(&self, text: &str) -> String {
        let (done, all) = self.steps;
        format!("[{}{}/{all}] {text}", self.label, done + 1)
    }

    /// Takes over an image's tree and configuration.
    pub(super) fn take_image(&mut self, image: BaseImage, top: Option<VertexId>) {
        self.top = top;
        self.scope = Variables::from_lines(&image.config.config.env);
        self.base_history.clone_from(&image.config.history);
        self.config = ImageConfig {
            history: Vec::new(),
            ..image.config.clone()
        };
        self.base = Some(image);
        default_path(self);
    }

    /// The steps that the stage ends with: all that must be there when it is.
    pub(super) fn steps_made(&self) -> Vec<VertexId> {
        let history = self.history.iter().filter_map(|item| item.vertex);
        history.chain(self.top).collect()
    }

    /// The name of a further part of the step that was named last.
    pub(super) fn part_name(&self, text: &str) -> String {
        let (done, all) = self.steps;
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
            let name = self.stage_title(index);
            return Err(PlanError::new(
                definition.from.span,
                format!("circular dependency detected on stage: {name}"),
            ));
        }
        self.open.push(index);
        let checks = self.request.checks;
        let outer = checks.enter(&definition.from, definition.from.span);
        if let Some(stage) = self.replaced_stage(index)? {
            checks.leave(outer);
            self.open.pop();
            self.stages[index] = Some(stage);
            return Ok(());
        }
        self.plan_after(index)?;
        let mut stage = self.start_stage(index)?;
        let outer_platform = std::mem::replace(&mut self.platform, stage.platform.clone());
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
        checks.leave(outer);
        self.platform = outer_platform;
        self.open.pop();
        self.stages[index] = Some(stage);
        Ok(())
    }

    /// The state that `FROM` gives.
    fn start_stage(&mut self, index: usize) -> Result<StageState, PlanError> {
        let definition = &self.request.dockerfile.stages[index];
        let from = &definition.from.value;
        let scope = self.globals.clone();
        let base = self.expand(&from.base, &scope)?;
        if base.is_empty() {
            return Err(PlanError::new(
                from.base.span,
                format!("base name ({}) should not be blank", from.base.text),
            ));
        }
        let own = match &from.platform {
            Some(word) => Some(self.platform(word, &scope)?),
            None => None,
        };
        let platform = own.unwrap_or_else(|| self.request.platform.clone());
        let label = self.stage_label(index, &platform);
        if base == "scratch" {
            return Ok(Self::scratch(label, &platform));
        }
        if let Some(other) = self.stage_by_name(&base, index) {
            self.plan_stage(other)?;
            return Ok(self.based_on(other, label));
        }
        let span = definition.from.span;
        if let Some(named) = self.context(&base, &platform) {
            return match self.context_state(&base, &named, &platform, label, span)? {
                Found::Stage(other) => Ok(self.based_on(other, self.stage_label(index, &platform))),
                Found::State(state) => Ok(*state),
            };
        }
        let count = 1 + definition
            .instructions
            .iter()
            .filter(|one| makes_step(&one.value))
            .count();
        let title = |image: &BaseImage| {
            let triggers = image.config.config.on_build.iter();
            let count = count + triggers.filter(|text| trigger_makes_step(text)).count();
            format!("[{label}1/{count}] FROM {}", image.reference)
        };
        let (image, top) =
            self.image(&base, &platform, Some(span), title)
                .map_err(|err| match self.suggest_stage(&base, index) {
                    // Whoever is told to log in has written the right name.
                    hint @ Some(_) if err.hint.is_none() => err.with_hint(hint),
                    _ => err,
                })?;
        self.check_base_platform(definition, &base, &image);
        let mut stage = Self::scratch(label, &platform);
        stage.checks.is_base_unknown = image.is_unknown();
        stage.steps = (1, 1);
        stage.take_image(image, top);
        Ok(stage)
    }

    /// What progress calls a stage.
    fn stage_label(&self, index: usize, platform: &Platform) -> String {
        let stages = &self.request.dockerfile.stages;
        let label = match &stages[index].from.value.name {
            Some(name) => format!("{} ", name.text.to_lowercase()),
            None if stages.len() > 1 => format!("stage-{index} "),
            None => String::new(),
        };
        format!("{}{label}", self.platform_label(platform))
    }

    /// `linux/amd64->arm64 ` where several platforms are built for: the stage's own
    /// one, and what it serves, as BuildKit has it.
    fn platform_label(&self, platform: &Platform) -> String {
        let target = self.request.platform;
        if !self.request.several {
            return String::new();
        }
        let served = match target.to_string() {
            _ if platform == target => return format!("{platform} "),
            whole if platform.os == target.os => whole[target.os.len() + 1..].to_owned(),
            whole => whole,
        };
        format!("{platform}->{served} ")
    }

    /// The state of a stage that begins with another one.
    fn based_on(&self, other: usize, label: String) -> StageState {
        let mut stage = self.planned(other).clone();
        stage.cmd_set = false;
        stage.checks = stage.checks.inherited();
        stage.steps = (0, 0);
        stage.label = label;
        stage
    }

    /// A stage that was planned.
    pub(super) fn planned(&self, index: usize) -> &StageState {
        self.stages[index]
            .as_ref()
            .expect("a stage is planned before it is used")
    }

    /// What a context puts in place of a whole stage, its instructions included.
    fn replaced_stage(&mut self, index: usize) -> Result<Option<StageState>, PlanError> {
        let from = &self.request.dockerfile.stages[index].from;
        let Some(name) = &from.value.name else {
            return Ok(None);
        };
        let scope = self.globals.clone();
        let platform = match &from.value.platform {
            Some(word) => self.platform(word, &scope)?,
            None => self.request.platform.clone(),
        };
        let Some(named) = self.context(&name.text, &platform) else {
            return Ok(None);
        };
        let label = self.stage_label(index, &platform);
        let found = self.context_state(&name.text, &named, &platform, label, from.span)?;
        Ok(Some(match found {
            Found::Stage(other) => self.based_on(other, self.stage_label(index, &platform)),
            Found::State(state) => *state,
        }))
    }

    /// Plans the stages of `FROM --after`: they must succeed, and before this one begins.
    fn plan_after(&mut self, index: usize) -> Result<(), PlanError> {
        let after = &self.request.dockerfile.stages[index].from.value.after;
        for word in after {
            let Some(other) = self.stage_named(index, word)? else {
                let hint = self.suggest_stage(&word.text, index);
                let message = format!("stage {:?} of --after could not be found", word.text);
                return Err(PlanError::new(word.span, message).with_hint(hint));
            };
            self.require(other);
            let last = self.planned(other).steps_made();
            self.waits.entry(index).or_default().extend(last);
        }
        Ok(())
    }

    pub(super) fn scratch(label: String, platform: &Platform) -> StageState {
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
            platform: platform.clone(),
            base_history: Vec::new(),
            history: Vec::new(),
            scope: Variables::new(),
            args: Vec::new(),
            cmd_set: false,
            label,
            checks: StageChecks::default(),
            steps: (0, 0),
        };
        default_path(&mut stage);
        stage
    }

    /// `--platform` of a stage.
    fn platform(&self, word: &dockerfile::Word, scope: &Variables) -> Result<Platform, PlanError> {
        let text = self.expand(word, scope)?;
        if text.is_empty() {
            let message = format!("empty platform value from expression {}", word.text);
            return Err(PlanError::new(word.span, message));
        }
        text.parse().map_err(|err| {
            PlanError::new(word.span, format!("failed to parse platform {text}: {err}"))
        })
    }

    /// Expands a word of an instruction.
    pub(super) fn expand(
        &self,
        word: &dockerfile::Word,
        scope: &Variables,
    ) -> Result<String, PlanError> {
        let escape = self.request.dockerfile.escape.unwrap_or('\\');
        dockerfile::expand(&word.text, escape, scope)
            .map(|expanded| {
                let checks = self.request.checks;
                checks.unset(word.span, &expanded.unmatched, || scope.names());
                expanded.text
            })
            .map_err(|err| PlanError::expand(word.span, &err))
    }

    /// The stage that `--from` names, planned; `None` when it names no stage.
    pub(super) fn stage_named(
        &mut self,
        index: usize,
        word: &dockerfile::Word,
    ) -> Result<Option<usize>, PlanError> {
        let name = word.text.as_str();
        let stages = self.request.dockerfile.stages.len();
        // Numbers too large were refused for the whole file.
        let found = match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < stages),
            Err(_) => self
                .stage_by_name(name, index)
                .or_else(|| self.stage_by_name(name, stages)),
        };
        if found.is_some_and(|found| found >= index) {
            let own = self.stage_title(index);
            return Err(PlanError::new(
                word.span,
                format!(
                    "cannot copy from stage {name:?}, it needs to be defined before current stage {own:?}"
                ),
            ));
        }
        if let Some(found) = found {
            self.plan_stage(found)?;
        }
        Ok(found)
    }

    /// `did you mean x?` for a name that is neither a stage before `index` nor an
    /// image: the stages are asked, and the images that everybody uses.
    pub(super) fn suggest_stage(&self, name: &str, index: usize) -> Option<String> {
        const COMMON: [&str; 7] = [
            "alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora",
        ];
        let stages = &self.request.dockerfile.stages[..index];
        let names = stages
            .iter()
            .filter_map(|stage| stage.from.value.name.as_ref())
            .map(|name| name.text.as_str());
        let names: Vec<&str> = names.chain(COMMON).collect();
        // What is a name may have a tag that there is not.
        let name = name.split([':', '@']).next().unwrap_or(name);
        if names.contains(&name) {
            return None;
        }
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

/// As [`makes_step`], of a trigger that was not parsed yet.
fn trigger_makes_step(text: &str) -> bool {
    let name = text.split_whitespace().next().unwrap_or_default();
    let names = ["ADD", "COPY", "RUN", "WORKDIR"];
    names.iter().any(|step| name.eq_ignore_ascii_case(step))
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
