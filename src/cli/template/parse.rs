//! Tokens to a tree.

use super::TemplateError;
use super::lex::{Piece, Token};

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text to copy.
    Text(String),
    /// A pipeline to print, or to give to a variable.
    Print(Pipeline),
    /// `if`, `with` or `range` over a pipeline.
    Block {
        kind: Kind,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// What a block does with its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Renders the body when it is true.
    If,
    /// The same, with the value as `.`.
    With,
    /// Renders the body for each element.
    Range,
}

/// Commands joined by `|`, and the variables that get the result.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// `.`
    Dot,
    /// A variable.
    Variable(String),
    /// A function.
    Function(String),
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
    /// `nil`
    Nil,
    /// A pipeline in parentheses.
    Nested(Box<Pipeline>),
    /// Fields of another operand.
    Fields(Box<Operand>, Vec<String>),
}

/// Reads a whole template.
pub(super) fn parse(pieces: &[Piece]) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces, at: 0 };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(TemplateError::Parse(format!("unexpected {{{{{word}}}}}"))),
    }
}

/// Blocks inside blocks; a template is the user's own, but still no reason to overflow the stack.
const DEPTH_LIMIT: usize = 64;

struct Parser<'a> {
    pieces: &'a [Piece],
    at: usize,
}

impl Parser<'_> {
    /// Reads until the end or an `end` or `else`, which is consumed and returned
    /// with what follows the `else`.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Option<String>), TemplateError> {
        if depth > DEPTH_LIMIT {
            return Err(TemplateError::Parse("blocks are nested too deeply".into()));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    self.at += 1;
                    continue;
                }
                Piece::Action(tokens) => tokens.as_slice(),
            };
            self.at += 1;
            match tokens {
                [Token::Word(word)] if word == "end" || word == "else" => {
                    return Ok((nodes, Some(word.clone())));
                }
                [Token::Word(word), rest @ ..] if word == "else" => {
                    // `else if` stays to be read as a block of its own.
                    self.at -= 1;
                    let [Token::Word(inner), ..] = rest else {
                        return Err(TemplateError::Parse("unexpected token after else".into()));
                    };
                    return Ok((nodes, Some(format!("else {inner}"))));
                }
                [Token::Word(word), over @ ..] if kind(word).is_some() => {
                    let kind = kind(word).unwrap_or(Kind::If);
                    nodes.push(self.block(kind, over, depth)?);
                }
                tokens => nodes.push(Node::Print(pipeline(tokens)?)),
            }
        }
        Ok((nodes, None))
    }

    fn block(&mut self, kind_: Kind, over: &[Token], depth: usize) -> Result<Node, TemplateError> {
        let over = pipeline(over)?;
        let (body, end) = self.nodes(depth + 1)?;
        let otherwise = match end.as_deref() {
            Some("end") => Vec::new(),
            Some("else") => match self.nodes(depth + 1)? {
                (nodes, Some(end)) if end == "end" => nodes,
                _ => return Err(TemplateError::Parse("expected {{end}}".into())),
            },
            Some(_) => {
                let Some(Piece::Action(tokens)) = self.pieces.get(self.at) else {
                    return Err(TemplateError::Parse("unexpected EOF".into()));
                };
                self.at += 1;
                let Some(kind) = tokens.get(1).and_then(|token| match token {
                    Token::Word(word) => kind(word),
                    _ => None,
                }) else {
                    return Err(TemplateError::Parse("unexpected token after else".into()));
                };
                // The inner block takes the `end` of the whole chain.
                vec![self.block(kind, &tokens[2..], depth + 1)?]
            }
            None => return Err(TemplateError::Parse("unexpected EOF".into())),
        };
        Ok(Node::Block {
            kind: kind_,
            over,
            body,
            otherwise,
        })
    }
}

fn kind(word: &str) -> Option<Kind> {
    match word {
        "if" => Some(Kind::If),
        "with" => Some(Kind::With),
        "range" => Some(Kind::Range),
        _ => None,
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let (variables, tokens) = match tokens {
        [
            Token::Variable(name),
            Token::Declare | Token::Assign,
            rest @ ..,
        ] => (vec![name.clone()], rest),
        [
            Token::Variable(first),
            Token::Comma,
            Token::Variable(second),
            Token::Declare | Token::Assign,
            rest @ ..,
        ] => (vec![first.clone(), second.clone()], rest),
        rest => (Vec::new(), rest),
    };
    let mut at = 0;
    let pipeline = commands(tokens, &mut at, variables, 0)?;
    match tokens.get(at) {
        None => Ok(pipeline),
        Some(_) => Err(TemplateError::Parse("unexpected right paren".into())),
    }
}

fn commands(
    tokens: &[Token],
    at: &mut usize,
    variables: Vec<String>,
    depth: usize,
) -> Result<Pipeline, TemplateError> {
    if depth > DEPTH_LIMIT {
        return Err(TemplateError::Parse(
            "parentheses are nested too deeply".into(),
        ));
    }
    let mut all = Vec::new();
    let mut command: Vec<Operand> = Vec::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        let operand = match token {
            Token::Close => {
                *at -= 1;
                break;
            }
            Token::Pipe => {
                if command.is_empty() {
                    return Err(TemplateError::Parse("missing value for command".into()));
                }
                all.push(std::mem::take(&mut command));
                continue;
            }
            Token::Open => {
                let nested = commands(tokens, at, Vec::new(), depth + 1)?;
                if tokens.get(*at) != Some(&Token::Close) {
                    return Err(TemplateError::Parse("unclosed left paren".into()));
                }
                *at += 1;
                Operand::Nested(Box::new(nested))
            }
            Token::Field { name, joined } => {
                let before = if *joined { command.pop() } else { None };
                match before {
                    Some(Operand::Fields(inner, mut fields)) => {
                        fields.push(name.clone());
                        Operand::Fields(inner, fields)
                    }
                    Some(other) => Operand::Fields(Box::new(other), vec![name.clone()]),
                    None => Operand::Fields(Box::new(Operand::Dot), vec![name.clone()]),
                }
            }
            other => simple(other)?,
        };
        command.push(operand);
    }
    if command.is_empty() {
        return Err(TemplateError::Parse("missing value for command".into()));
    }
    all.push(command);
    Ok(Pipeline {
        variables,
        commands: all,
    })
}

fn simple(token: &Token) -> Result<Operand, TemplateError> {
    Ok(match token {
        Token::Dot => Operand::Dot,
        Token::Variable(name) => Operand::Variable(name.clone()),
        Token::Word(word) => match word.as_str() {
            "true" => Operand::Bool(true),
            "false" => Operand::Bool(false),
            "nil" => Operand::Nil,
            _ if super::functions::exists(word) => Operand::Function(word.clone()),
            _ => {
                let message = format!("function \"{word}\" not defined");
                return Err(TemplateError::Parse(message));
            }
        },
        Token::Text(text) => Operand::Text(text.clone()),
        Token::Number(number) => Operand::Number(*number),
        _ => return Err(TemplateError::Parse("unexpected token in operand".into())),
    })
}
