//! A tree and a value to text.

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::Value;

use super::node::{Branch, Command, Node, Pipe, Word, WordKind};
use super::parse::Parsed;
use super::show::{self, Nil, Val, truth};
use super::{Error, Schema, functions};

/// Longest text that a template may make of one value.
const OUTPUT_LIMIT: usize = 64 << 20;
/// Most nodes that are executed for one value.
const STEP_LIMIT: u64 = 20_000_000;
/// Deepest call of templates by templates.
const CALL_LIMIT: usize = 100;

/// Renders a template for `value`.
pub(super) fn render(
    text: &str,
    parsed: &Parsed,
    value: &Value,
    schema: &Schema,
    header: bool,
) -> Result<String, Error> {
    let mut run = Run {
        text,
        parsed,
        schema,
        header,
        variables: Vec::new(),
        out: String::new(),
        steps: 0,
        calls: Vec::new(),
    };
    let root = Val::borrowed(value);
    run.variables.push(("$".to_owned(), root.clone()));
    run.nodes(&parsed.main, &root)?;
    Ok(run.out)
}

struct Run<'t, 'v> {
    text: &'t str,
    parsed: &'t Parsed,
    schema: &'t Schema,
    /// Whether titles are rendered, which functions leave alone.
    header: bool,
    variables: Vec<(String, Val<'v>)>,
    out: String,
    steps: u64,
    /// Names of the templates that are executed within each other.
    calls: Vec<String>,
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'t, 'v> Run<'t, 'v> {
    fn error(&self, at: usize, context: &dyn Display, message: impl Into<String>) -> Error {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line_start = before.iter().rposition(|byte| *byte == b'\n');
        Error::Execute {
            line: 1 + before.split(|byte| *byte == b'\n').skip(1).count(),
            column: at - line_start.map_or(0, |start| start + 1),
            name: self.calls.last().cloned().unwrap_or_default(),
            context: context.to_string(),
            message: message.into(),
        }
    }

    /// Counts a step; a template that runs away is stopped.
    fn step(&mut self, at: usize) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > STEP_LIMIT || self.out.len() > OUTPUT_LIMIT {
            return Err(self.error(at, &".", "the template runs for too long"));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Val<'v>) -> Result<Flow, Error> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.step(0)?;
                    self.out.push_str(text);
                }
                Node::Action(pipe) => {
                    self.step(pipe.at)?;
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        show::print(&value, self.schema, &mut self.out);
                    }
                }
                Node::Branch {
                    kind,
                    pipe,
                    body,
                    otherwise,
                } => {
                    let scope = self.variables.len();
                    let flow = self.branch(*kind, pipe, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Template { at, name, pipe } => self.call(*at, name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn branch(
        &mut self,
        kind: Branch,
        pipe: &'t Pipe,
        body: &'t [Node],
        otherwise: &'t [Node],
        dot: &Val<'v>,
    ) -> Result<Flow, Error> {
        self.step(pipe.at)?;
        if kind == Branch::Range {
            return self.range(pipe, body, otherwise, dot);
        }
        let value = self.pipe(pipe, dot)?;
        if !truth(&value.json) {
            return self.nodes(otherwise, dot);
        }
        self.nodes(body, if kind == Branch::With { &value } else { dot })
    }

    fn range(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        otherwise: &'t [Node],
        dot: &Val<'v>,
    ) -> Result<Flow, Error> {
        let value = self.commands(pipe, dot)?;
        let elements = elements(&value).ok_or_else(|| {
            let mut text = String::new();
            show::print(&value, self.schema, &mut text);
            self.error(pipe.at, pipe, format!("range can't iterate over {text}"))
        })?;
        let mut any = false;
        for (key, item) in elements {
            any = true;
            self.step(pipe.at)?;
            let scope = self.variables.len();
            match (pipe.variables.as_slice(), pipe.assigns) {
                ([], _) => {}
                ([one], false) => self.variables.push((one.clone(), item.clone())),
                ([one], true) => self.assign(one, &item),
                ([first, second, ..], false) => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                ([first, second, ..], true) => {
                    self.assign(first, &key);
                    self.assign(second, &item);
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        if any {
            return Ok(Flow::On);
        }
        self.nodes(otherwise, dot)
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        pipe: Option<&'t Pipe>,
        dot: &Val<'v>,
    ) -> Result<(), Error> {
        self.step(at)?;
        let parsed = self.parsed;
        let Some(body) = parsed.named.get(name) else {
            let context = format!("{{{{template {}}}}}", super::printf::quote(name));
            return Err(self.error(at, &context, format!("template \"{name}\" not defined")));
        };
        if self.calls.len() >= CALL_LIMIT {
            let context = format!("{{{{template {}}}}}", super::printf::quote(name));
            let message = format!("exceeded maximum template depth ({CALL_LIMIT})");
            return Err(self.error(at, &context, message));
        }
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Val::nil(Nil::Nothing),
        };
        self.calls.push(name.to_owned());
        let outer = std::mem::take(&mut self.variables);
        self.variables.push(("$".to_owned(), value.clone()));
        let done = self.nodes(body, &value).map(drop);
        if done.is_ok() {
            self.calls.pop();
        }
        self.variables = outer;
        done
    }

    /// Sets the variable that was declared last under this name.
    fn assign(&mut self, name: &str, value: &Val<'v>) {
        let known = self.variables.iter_mut().rev().find(|(n, _)| n == name);
        if let Some((_, old)) = known {
            old.clone_from(value);
        }
    }

    /// The value of a pipeline, which its variable gets.
    fn pipe(&mut self, pipe: &'t Pipe, dot: &Val<'v>) -> Result<Val<'v>, Error> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, &value);
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'t Pipe, dot: &Val<'v>) -> Result<Val<'v>, Error> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_else(|| Val::nil(Nil::Nothing)))
    }

    fn command(
        &mut self,
        command: &'t Command,
        piped: Option<Val<'v>>,
        dot: &Val<'v>,
    ) -> Result<Val<'v>, Error> {
        let Some((first, rest)) = command.words.split_first() else {
            return Ok(Val::nil(Nil::Nothing));
        };
        match &first.kind {
            WordKind::Function(name) => self.function(command, name, rest, piped, dot),
            // The one method that rows have: `.Label "key"`.
            WordKind::Field(fields) if fields.last().is_some_and(|last| last == "Label") => {
                let row = self.fields(first, dot.clone(), &fields[..fields.len() - 1])?;
                if !functions::has_labels(&row.json) {
                    return self.plain(first, rest, piped.is_some(), dot);
                }
                let mut arguments = self.arguments(rest, dot)?;
                arguments.extend(piped);
                Ok(functions::label(&row.json, &arguments, self.header))
            }
            _ => self.plain(first, rest, piped.is_some(), dot),
        }
    }

    /// A value that takes no arguments.
    fn plain(
        &mut self,
        first: &'t Word,
        rest: &'t [Word],
        piped: bool,
        dot: &Val<'v>,
    ) -> Result<Val<'v>, Error> {
        if rest.is_empty() && !piped {
            if matches!(first.kind, WordKind::Nil) {
                return Err(self.error(first.at, first, "nil is not a command"));
            }
            return self.word(first, dot);
        }
        let message = match &first.kind {
            WordKind::Field(fields) | WordKind::Chain(_, fields) => {
                // A member that is not there is the greater mistake.
                self.word(first, dot)?;
                let name = fields.last().map(String::as_str).unwrap_or_default();
                format!("{name} has arguments but cannot be invoked as function")
            }
            _ => format!("can't give argument to non-function {first}"),
        };
        Err(self.error(first.at, first, message))
    }

    fn arguments(&mut self, words: &'t [Word], dot: &Val<'v>) -> Result<Vec<Val<'v>>, Error> {
        words.iter().map(|word| self.word(word, dot)).collect()
    }

    fn function(
        &mut self,
        command: &'t Command,
        name: &str,
        words: &'t [Word],
        piped: Option<Val<'v>>,
        dot: &Val<'v>,
    ) -> Result<Val<'v>, Error> {
        self.step(command.at)?;
        if matches!(name, "and" | "or") {
            // They stop at the first value that decides.
            let mut last = None;
            for word in words {
                let value = self.word(word, dot)?;
                if truth(&value.json) == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return piped.or(last).ok_or_else(|| {
                let message = format!("wrong number of args for {name}: want at least 1 got 0");
                self.error(command.at, command, message)
            });
        }
        let mut arguments = self.arguments(words, dot)?;
        arguments.extend(piped);
        if self.header && functions::leaves_titles(name) {
            let first = arguments.into_iter().next();
            return Ok(first.unwrap_or_else(|| Val::nil(Nil::Nothing)));
        }
        functions::call(name, &arguments, self.schema)
            .map_err(|message| self.error(command.at, command, message))
    }

    fn word(&mut self, word: &'t Word, dot: &Val<'v>) -> Result<Val<'v>, Error> {
        Ok(match &word.kind {
            WordKind::Dot => dot.clone(),
            WordKind::Nil => Val::nil(Nil::Nothing),
            WordKind::Constant(value, _) => Val::owned(value.clone()),
            WordKind::Function(name) => {
                return functions::call(name, &[], self.schema)
                    .map_err(|message| self.error(word.at, word, message));
            }
            WordKind::Field(fields) => self.fields(word, dot.clone(), fields)?,
            WordKind::Variable(name, fields) => {
                let known = self.variables.iter().rev().find(|(n, _)| n == name);
                let Some((_, value)) = known else {
                    let message = format!("undefined variable: {name}");
                    return Err(self.error(word.at, word, message));
                };
                let value = value.clone();
                self.fields(word, value, fields)?
            }
            WordKind::Pipe(pipe) => self.pipe(pipe, dot)?,
            WordKind::Chain(inner, fields) => {
                let value = self.word(inner, dot)?;
                self.fields(word, value, fields)?
            }
        })
    }

    fn fields(&self, word: &Word, value: Val<'v>, fields: &[String]) -> Result<Val<'v>, Error> {
        let mut value = value;
        let mut before = "";
        for field in fields {
            value = self.field(word, &value, field, before)?;
            before = field;
        }
        Ok(value)
    }

    fn field(
        &self,
        word: &Word,
        value: &Val<'v>,
        name: &str,
        before: &str,
    ) -> Result<Val<'v>, Error> {
        let wrong = |message: String| self.error(word.at, word, message);
        let members = match &*value.json {
            Value::Object(members) => members,
            Value::Null => {
                return Err(wrong(match value.nil {
                    Nil::Pointer => format!("map has no entry for key \"{before}\""),
                    _ => format!("nil data; no entry for key \"{name}\""),
                }));
            }
            other => {
                let kind = show::type_name(other);
                return Err(wrong(format!("can't evaluate field {name} in type {kind}")));
            }
        };
        if let Some(key) = self.key(members, name, value.is_map) {
            let json = match &value.json {
                Cow::Borrowed(Value::Object(members)) => members.get(key).map(Cow::Borrowed),
                _ => members.get(key).cloned().map(Cow::Owned),
            };
            let json = json.unwrap_or(Cow::Owned(Value::Null));
            return Ok(Val {
                json,
                nil: self.nil_of(key),
                is_map: self.schema.maps.contains(&key),
            });
        }
        if value.is_map || self.header {
            return Ok(Val::nil(Nil::Nothing));
        }
        if self.schema.texts.contains(&name) {
            return Ok(Val::owned(""));
        }
        if self.schema.optional.contains(&name) {
            return Ok(Val::nil(self.nil_of(name)));
        }
        Err(wrong(match self.schema.type_name {
            Some(kind) => format!("can't evaluate field {name} in type {kind}"),
            None => format!("map has no entry for key \"{name}\""),
        }))
    }

    /// The key that a name means: itself, or among members of a structure the
    /// one that differs in case, as Go's names of members (`ID`) and their JSON (`Id`) do.
    fn key<'k>(
        &self,
        members: &'k serde_json::Map<String, Value>,
        name: &str,
        is_map: bool,
    ) -> Option<&'k str> {
        if let Some((key, _)) = members.get_key_value(name) {
            return Some(key);
        }
        let exported = name.starts_with(|c: char| c.is_ascii_uppercase());
        if is_map || !exported || self.schema.type_name.is_some() {
            return None;
        }
        members
            .keys()
            .find(|key| key.eq_ignore_ascii_case(name))
            .map(String::as_str)
    }

    fn nil_of(&self, key: &str) -> Nil {
        if self.schema.lists.contains(&key) {
            Nil::List
        } else if self.schema.maps.contains(&key) {
            Nil::Map
        } else {
            Nil::Pointer
        }
    }
}

/// What `range` walks over, with keys; `None` for what it cannot.
fn elements<'v>(value: &Val<'v>) -> Option<Box<dyn Iterator<Item = (Val<'v>, Val<'v>)> + 'v>> {
    Some(match &value.json {
        Cow::Borrowed(Value::Array(items)) => Box::new(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| (Val::owned(index), Val::borrowed(item))),
        ),
        Cow::Owned(Value::Array(items)) => {
            let items = items.clone().into_iter().enumerate();
            Box::new(items.map(|(index, item)| (Val::owned(index), Val::owned(item))))
        }
        Cow::Borrowed(Value::Object(members)) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let members = members.into_iter();
            Box::new(members.map(|(key, item)| (Val::owned(key.as_str()), Val::borrowed(item))))
        }
        Cow::Owned(Value::Object(members)) => {
            let mut members: Vec<_> = members.clone().into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let members = members.into_iter();
            Box::new(members.map(|(key, item)| (Val::owned(key), Val::owned(item))))
        }
        other => match other.as_ref() {
            Value::Null => Box::new(std::iter::empty()),
            Value::Number(number) => {
                let count = number.as_i64()?;
                Box::new((0..count).map(|index| (Val::owned(index), Val::owned(index))))
            }
            _ => return None,
        },
    })
}
