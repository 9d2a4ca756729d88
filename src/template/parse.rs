//! Tokens to a tree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::lex::{self, Kind, Token};
use super::node::{Branch, Command, Node, Pipe, Word, WordKind};
use super::{Error, functions, number, printf};

/// A template and those defined in it.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    /// The outer template.
    pub(super) main: Vec<Node>,
    /// Templates by name.
    pub(super) named: BTreeMap<String, Vec<Node>>,
    /// Every member mentioned.
    pub(super) fields: BTreeSet<String>,
}

/// Blocks inside blocks and parentheses inside parentheses: neither text nor
/// value may overflow the stack.
const DEPTH_LIMIT: usize = 100;

/// Reads a whole template.
pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    let mut parser = Parser {
        text,
        tokens: lex::lex(text),
        at: 0,
        depth: 0,
        ranges: 0,
        variables: vec!["$".to_owned()],
        named: BTreeMap::new(),
        fields: BTreeSet::new(),
    };
    let (main, end) = parser.list()?;
    match end {
        Ended::Text => Ok(Parsed {
            main,
            named: parser.named,
            fields: parser.fields,
        }),
        Ended::End => Err(parser.error("unexpected {{end}}")),
        Ended::Else | Ended::ElseBranch(_) => Err(parser.error("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Text,
    End,
    Else,
    /// `{{else if` and `{{else with`, of which the keyword was read.
    ElseBranch(Branch),
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// How many `range`s are open.
    ranges: usize,
    variables: Vec<String>,
    named: BTreeMap<String, Vec<Node>>,
    fields: BTreeSet<String>,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        let last = self.at.saturating_sub(1).min(self.tokens.len() - 1);
        let at = self.tokens.get(last).map_or(0, |token| token.at);
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        Error::Parse {
            line: 1 + before.split(|byte| *byte == b'\n').skip(1).count(),
            message: message.into(),
        }
    }

    fn next(&mut self) -> Token {
        // The last token ends everything; it is given out for ever.
        let last = self.tokens.len() - 1;
        let token = self.tokens[self.at.min(last)].clone();
        self.at += 1;
        token
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next_word(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn unexpected(&self, token: &Token, context: &str) -> Error {
        match token.kind {
            Kind::Error => self.error(token.text.clone()),
            Kind::End => self.error("unexpected EOF"),
            Kind::Word if KEYWORDS.contains(&token.text.as_str()) => {
                self.error(format!("unexpected <{}> in {context}", token.text))
            }
            _ if token.text.chars().count() > 10 => {
                let start: String = token.text.chars().take(10).collect();
                let start = printf::quote(&start);
                self.error(format!("unexpected {start}... in {context}"))
            }
            _ => {
                let text = printf::quote(&token.text);
                self.error(format!("unexpected {text} in {context}"))
            }
        }
    }

    fn deeper(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(self.error("nested too deeply"));
        }
        Ok(())
    }

    /// Nodes until something ends them, which is consumed.
    fn list(&mut self) -> Result<(Vec<Node>, Ended), Error> {
        self.deeper()?;
        let mut nodes = Vec::new();
        let ended = loop {
            let token = self.next();
            match token.kind {
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Open => {
                    if let Some(ended) = self.action(&mut nodes)? {
                        break ended;
                    }
                }
                Kind::End => break Ended::Text,
                _ => return Err(self.unexpected(&token, "input")),
            }
        };
        self.depth -= 1;
        Ok((nodes, ended))
    }

    /// One action after its `{{`.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Ended>, Error> {
        self.skip_space();
        let word = match self.peek() {
            token if token.kind == Kind::Word => token.text.clone(),
            _ => String::new(),
        };
        let keyword = KEYWORDS.contains(&word.as_str());
        if keyword {
            self.at += 1;
        }
        match word.as_str() {
            "end" => {
                self.close("end")?;
                return Ok(Some(Ended::End));
            }
            "else" => return self.otherwise().map(Some),
            "if" => nodes.push(self.branch(Branch::If)?),
            "with" => nodes.push(self.branch(Branch::With)?),
            "range" => nodes.push(self.branch(Branch::Range)?),
            "template" => nodes.push(self.template()?),
            "block" => nodes.push(self.block()?),
            "define" => self.define()?,
            "break" | "continue" => {
                self.close(&format!("{{{{{word}}}}}"))?;
                if self.ranges == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                nodes.push(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                });
            }
            _ => nodes.push(Node::Action(self.pipe("command", Kind::Close)?)),
        }
        Ok(None)
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        let token = self.next_word();
        if token.kind == Kind::Close {
            return Ok(());
        }
        Err(self.unexpected(&token, context))
    }

    fn otherwise(&mut self) -> Result<Ended, Error> {
        self.skip_space();
        let token = self.peek().clone();
        let branch = match (token.kind, token.text.as_str()) {
            (Kind::Word, "if") => Branch::If,
            (Kind::Word, "with") => Branch::With,
            _ => {
                self.close("else")?;
                return Ok(Ended::Else);
            }
        };
        self.at += 1;
        Ok(Ended::ElseBranch(branch))
    }

    fn branch(&mut self, kind: Branch) -> Result<Node, Error> {
        self.deeper()?;
        let scope = self.variables.len();
        let context = match kind {
            Branch::If => "if",
            Branch::With => "with",
            Branch::Range => "range",
        };
        let pipe = self.pipe(context, Kind::Close)?;
        self.ranges += usize::from(kind == Branch::Range);
        let (body, ended) = self.list()?;
        self.ranges -= usize::from(kind == Branch::Range);
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Else => self.until_end()?,
            Ended::ElseBranch(inner) if inner == kind => vec![self.branch(inner)?],
            Ended::ElseBranch(_) => return Err(self.error("unexpected {{else}} action")),
            Ended::Text => return Err(self.error("unexpected EOF")),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Node::Branch {
            kind,
            pipe,
            body,
            otherwise,
        })
    }

    /// A list that only `end` may end.
    fn until_end(&mut self) -> Result<Vec<Node>, Error> {
        match self.list()? {
            (nodes, Ended::End) => Ok(nodes),
            (_, Ended::Text) => Err(self.error("unexpected EOF")),
            _ => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn template(&mut self) -> Result<Node, Error> {
        self.skip_space();
        let at = self.peek().at;
        let name = self.name("template clause")?;
        self.skip_space();
        let pipe = if self.peek().kind == Kind::Close {
            self.at += 1;
            None
        } else {
            Some(self.pipe("template clause", Kind::Close)?)
        };
        Ok(Node::Template { at, name, pipe })
    }

    fn block(&mut self) -> Result<Node, Error> {
        self.skip_space();
        let at = self.peek().at;
        let name = self.name("block clause")?;
        let pipe = self.pipe("block clause", Kind::Close)?;
        self.definition(&name, false)?;
        Ok(Node::Template {
            at,
            name,
            pipe: Some(pipe),
        })
    }

    fn define(&mut self) -> Result<(), Error> {
        if self.depth > 1 {
            let token = self.tokens[self.at.saturating_sub(1)].clone();
            return Err(self.unexpected(&token, "command"));
        }
        let name = self.name("define clause")?;
        self.close("define clause")?;
        self.definition(&name, true)
    }

    /// The body of a template with a name of its own, which knows no outer variables.
    fn definition(&mut self, name: &str, wins: bool) -> Result<(), Error> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let body = self.until_end()?;
        self.variables = outer;
        self.ranges = ranges;
        if wins || !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), body);
        }
        Ok(())
    }

    fn name(&mut self, context: &str) -> Result<String, Error> {
        let token = self.next_word();
        match token.kind {
            Kind::Quoted | Kind::Raw => self.unquote(&token),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn unquote(&self, token: &Token) -> Result<String, Error> {
        if token.kind == Kind::Raw {
            return Ok(token.text.trim_matches('`').to_owned());
        }
        number::unquote(&token.text).ok_or_else(|| self.error("invalid syntax"))
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Result<Pipe, Error> {
        self.skip_space();
        let at = self.peek().at;
        let (variables, assigns) = self.variables(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Word if KEYWORDS.contains(&token.text.as_str()) => {
                    return Err(self.unexpected(&token, context));
                }
                Kind::Word
                | Kind::Dot
                | Kind::Field
                | Kind::Variable
                | Kind::Quoted
                | Kind::Raw
                | Kind::Character
                | Kind::Number
                | Kind::LeftParen => {
                    self.at -= 1;
                    commands.push(self.command()?);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            let executable = matches!(
                command.words.first().map(|word| &word.kind),
                Some(
                    WordKind::Function(_)
                        | WordKind::Field(_)
                        | WordKind::Variable(..)
                        | WordKind::Pipe(_)
                        | WordKind::Chain(..)
                )
            );
            if !executable {
                let message = format!("non executable command in pipeline stage {}", index + 1);
                return Err(self.error(message));
            }
        }
        Ok(Pipe {
            at,
            variables,
            assigns,
            commands,
        })
    }

    /// The variables before `:=` or `=`, if the pipeline starts with any.
    fn variables(&mut self, context: &str) -> Result<(Vec<String>, bool), Error> {
        let mut names = Vec::new();
        let start = self.at;
        loop {
            self.skip_space();
            let token = self.peek().clone();
            if token.kind != Kind::Variable {
                break;
            }
            self.at += 1;
            self.skip_space();
            let next = self.peek().clone();
            names.push(token.text);
            match next.kind {
                Kind::Declare | Kind::Assign => {
                    self.at += 1;
                    if next.kind == Kind::Declare {
                        self.variables.extend(names.iter().cloned());
                    } else if let Some(name) =
                        names.iter().find(|name| !self.variables.contains(name))
                    {
                        return Err(self.error(format!("undefined variable \"{name}\"")));
                    }
                    return Ok((names, next.kind == Kind::Assign));
                }
                Kind::Char if next.text == "," => {
                    self.at += 1;
                    if context != "range" || names.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    self.skip_space();
                    if self.peek().kind != Kind::Variable {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Command, Error> {
        self.skip_space();
        let at = self.peek().at;
        let mut words = Vec::new();
        loop {
            self.skip_space();
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::Close | Kind::RightParen => self.at -= 1,
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if words.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { at, words })
    }

    fn operand(&mut self) -> Result<Option<Word>, Error> {
        let Some(word) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(word));
        }
        let at = self.peek().at;
        let mut more = Vec::new();
        while self.peek().kind == Kind::Field {
            let token = self.next();
            more.push(self.field(&token));
        }
        let kind = match word.kind {
            WordKind::Field(mut fields) => {
                fields.append(&mut more);
                WordKind::Field(fields)
            }
            WordKind::Variable(name, mut fields) => {
                fields.append(&mut more);
                WordKind::Variable(name, fields)
            }
            WordKind::Pipe(_) | WordKind::Function(_) | WordKind::Chain(..) => {
                WordKind::Chain(Box::new(word), more)
            }
            WordKind::Dot | WordKind::Nil | WordKind::Constant(..) => {
                let text = printf::quote(&word.to_string());
                return Err(self.error(format!("unexpected . after term {text}")));
            }
        };
        Ok(Some(Word { at, kind }))
    }

    fn field(&mut self, token: &Token) -> String {
        let name = token.text.trim_start_matches('.').to_owned();
        self.fields.insert(name.clone());
        name
    }

    fn term(&mut self) -> Result<Option<Word>, Error> {
        let token = self.next_word();
        let kind = match token.kind {
            Kind::Word => match token.text.as_str() {
                "true" | "false" => {
                    WordKind::Constant(Value::from(token.text == "true"), token.text.clone())
                }
                "nil" => WordKind::Nil,
                word if KEYWORDS.contains(&word) => {
                    self.at -= 1;
                    return Ok(None);
                }
                word if functions::exists(word) => WordKind::Function(word.to_owned()),
                word => {
                    let message = format!("function \"{word}\" not defined");
                    return Err(self.error(message));
                }
            },
            Kind::Dot => WordKind::Dot,
            Kind::Field => WordKind::Field(vec![self.field(&token)]),
            Kind::Variable if self.variables.contains(&token.text) => {
                WordKind::Variable(token.text.clone(), Vec::new())
            }
            Kind::Variable => {
                return Err(self.error(format!("undefined variable \"{}\"", token.text)));
            }
            Kind::Quoted | Kind::Raw => {
                WordKind::Constant(Value::from(self.unquote(&token)?), token.text.clone())
            }
            Kind::Character => {
                let text = self.unquote(&token)?;
                let mut chars = text.chars();
                let (Some(char), None) = (chars.next(), chars.next()) else {
                    let message = format!("malformed character constant: {}", token.text);
                    return Err(self.error(message));
                };
                WordKind::Constant(Value::from(u32::from(char)), token.text.clone())
            }
            Kind::Number => {
                let Some(value) = number::parse(&token.text) else {
                    let text = printf::quote(&token.text);
                    return Err(self.error(format!("bad number syntax: {text}")));
                };
                WordKind::Constant(value, token.text.clone())
            }
            Kind::LeftParen => {
                self.deeper()?;
                let pipe = self.pipe("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                WordKind::Pipe(Box::new(pipe))
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Word { at: token.at, kind }))
    }
}

/// Words that are no functions.
const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];
