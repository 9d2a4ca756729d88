//! A tree and a value to text.

use std::borrow::Cow;

use serde_json::Value;

use super::TemplateError;
use super::functions::{call, show, truth};
use super::parse::{Kind, Node, Operand, Pipeline};

/// Renders the nodes of a template for `value`.
pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut run = Run {
        whole: value,
        variables: Vec::new(),
        out: String::new(),
    };
    run.nodes(nodes, value)?;
    Ok(run.out)
}

struct Run<'a> {
    whole: &'a Value,
    variables: Vec<(String, Value)>,
    out: String,
}

/// Members whose values are maps in Docker's documents: a key that is not there
/// prints `<no value>`, where a field that is not there is an error.
const MAPS: [&str; 10] = [
    "Labels",
    "Annotations",
    "Ports",
    "ExposedPorts",
    "Networks",
    "Volumes",
    "Options",
    "PortBindings",
    "Sysctls",
    "Data",
];

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?.into_owned();
                    match pipeline.variables.first() {
                        Some(name) => self.set(name, value),
                        None => show(&value, &mut self.out),
                    }
                }
                Node::Block {
                    kind,
                    over,
                    body,
                    otherwise,
                } => {
                    let depth = self.variables.len();
                    self.block(*kind, over, body, otherwise, dot)?;
                    self.variables.truncate(depth);
                }
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        kind: Kind,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let value = self.pipeline(over, dot)?.into_owned();
        if !truth(&value) {
            return self.nodes(otherwise, dot);
        }
        match kind {
            Kind::If | Kind::With => {
                if let Some(name) = over.variables.first() {
                    self.variables.push((name.clone(), value.clone()));
                }
                let dot = if kind == Kind::With { &value } else { dot };
                self.nodes(body, dot)
            }
            Kind::Range => self.range(&over.variables, body, &value),
        }
    }

    fn range(
        &mut self,
        variables: &[String],
        body: &[Node],
        value: &Value,
    ) -> Result<(), TemplateError> {
        let elements: Vec<(Value, &Value)> = match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (Value::from(index), item))
                .collect(),
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_by_key(|(key, _)| key.as_str());
                members
                    .into_iter()
                    .map(|(key, item)| (Value::from(key.as_str()), item))
                    .collect()
            }
            other => {
                let mut text = String::new();
                show(other, &mut text);
                let message = format!("range can't iterate over {text}");
                return Err(TemplateError::Execute(message));
            }
        };
        for (key, item) in elements {
            let depth = self.variables.len();
            match variables {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    /// Sets a variable where it was declared, or declares it.
    fn set(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline<'v>(
        &'v self,
        pipeline: &Pipeline,
        dot: &'v Value,
    ) -> Result<Cow<'v, Value>, TemplateError> {
        let mut last: Option<Cow<'v, Value>> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last.as_deref(), dot)?);
        }
        Ok(last.unwrap_or(Cow::Owned(Value::Null)))
    }

    fn command<'v>(
        &'v self,
        command: &[Operand],
        piped: Option<&Value>,
        dot: &'v Value,
    ) -> Result<Cow<'v, Value>, TemplateError> {
        let Some((first, rest)) = command.split_first() else {
            return Ok(Cow::Owned(Value::Null));
        };
        let arguments = || -> Result<Vec<Value>, TemplateError> {
            let mut values = Vec::with_capacity(rest.len() + 1);
            for operand in rest {
                values.push(self.operand(operand, dot)?.into_owned());
            }
            values.extend(piped.cloned());
            Ok(values)
        };
        match first {
            Operand::Function(name) => Ok(Cow::Owned(call(name, &arguments()?)?)),
            // The one method that rows have: `.Label "key"`.
            Operand::Fields(of, fields) if fields.last().is_some_and(|f| f == "Label") => {
                let row = Self::fields(self.operand(of, dot)?, &fields[..fields.len() - 1])?;
                Ok(Cow::Owned(label(&row, &arguments()?)))
            }
            _ if rest.is_empty() && piped.is_none() => self.operand(first, dot),
            _ => Err(TemplateError::Execute(
                "can't give argument to non-function".to_owned(),
            )),
        }
    }

    fn operand<'v>(
        &'v self,
        operand: &Operand,
        dot: &'v Value,
    ) -> Result<Cow<'v, Value>, TemplateError> {
        Ok(match operand {
            Operand::Dot => Cow::Borrowed(dot),
            Operand::Variable(name) if name.is_empty() => Cow::Borrowed(self.whole),
            Operand::Variable(name) => self
                .variables
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| Cow::Borrowed(value))
                .ok_or_else(|| TemplateError::Execute(format!("undefined variable \"${name}\"")))?,
            Operand::Function(name) => Cow::Owned(call(name, &[])?),
            Operand::Text(text) => Cow::Owned(Value::from(text.as_str())),
            Operand::Number(number) => Cow::Owned(Value::from(*number)),
            Operand::Bool(value) => Cow::Owned(Value::from(*value)),
            Operand::Nil => Cow::Owned(Value::Null),
            Operand::Nested(pipeline) => self.pipeline(pipeline, dot)?,
            Operand::Fields(of, fields) => Self::fields(self.operand(of, dot)?, fields)?,
        })
    }

    fn fields<'v>(
        value: Cow<'v, Value>,
        fields: &[String],
    ) -> Result<Cow<'v, Value>, TemplateError> {
        let mut value = value;
        let mut in_map = false;
        for field in fields {
            let found = match &value {
                Cow::Borrowed(value) => value.get(field).map(Cow::Borrowed),
                Cow::Owned(value) => value.get(field).cloned().map(Cow::Owned),
            };
            value = match found {
                Some(found) => found,
                None if in_map || value.is_null() => return Ok(Cow::Owned(Value::Null)),
                None => {
                    let message = format!("map has no entry for key \"{field}\"");
                    return Err(TemplateError::Execute(message));
                }
            };
            in_map = MAPS.contains(&field.as_str());
        }
        Ok(value)
    }
}

/// A label of a row, whose labels are a map or `a=b,c=d`.
fn label(row: &Value, arguments: &[Value]) -> Value {
    let Some(key) = arguments.first().and_then(Value::as_str) else {
        return Value::from("");
    };
    match row.get("Labels") {
        Some(Value::String(text)) => text
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == key)
            .map_or(Value::from(""), |(_, value)| Value::from(value)),
        Some(Value::Object(map)) => map.get(key).cloned().unwrap_or(Value::from("")),
        _ => Value::from(""),
    }
}
