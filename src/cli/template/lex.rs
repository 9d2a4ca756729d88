//! Text to actions, actions to tokens.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text to copy.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Vec<Token>),
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.` alone.
    Dot,
    /// `.Name`; `joined` when it follows the token before it without a space.
    Field { name: String, joined: bool },
    /// `$name`, or `$` for the whole value.
    Variable(String),
    /// A function or keyword.
    Word(String),
    /// A string in double or back quotes.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// Splits a template into text and actions.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_start = false;
    while let Some(open) = rest.find("{{") {
        let (before, action) = (&rest[..open], &rest[open + 2..]);
        let trims_left = action.starts_with("- ");
        let before = if trim_start {
            before.trim_start()
        } else {
            before
        };
        let before = if trims_left {
            before.trim_end()
        } else {
            before
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let action = if trims_left { &action[1..] } else { action };
        let close =
            find_close(action).ok_or_else(|| TemplateError::Parse("unclosed action".to_owned()))?;
        let mut body = &action[..close];
        trim_start = body.ends_with(" -");
        if trim_start {
            body = &body[..body.len() - 1];
        }
        rest = &action[close + 2..];
        if !body.trim().starts_with("/*") {
            pieces.push(Piece::Action(tokens(body)?));
        }
    }
    let rest = if trim_start { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Where the action ends: the first `}}` outside of quotes.
fn find_close(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(body: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = body;
    let mut spaced = true;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
            spaced = true;
            continue;
        }
        let (token, length) = token(rest, first, !spaced)?;
        tokens.push(token);
        rest = &rest[length..];
        spaced = false;
    }
    Ok(tokens)
}

/// Reads one token and its length in bytes.
fn token(rest: &str, first: char, joined: bool) -> Result<(Token, usize), TemplateError> {
    let word = |from: usize| {
        let tail = &rest[from..];
        let end = tail
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(tail.len());
        &tail[..end]
    };
    Ok(match first {
        '|' => (Token::Pipe, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        ':' if rest.starts_with(":=") => (Token::Declare, 2),
        '=' => (Token::Assign, 1),
        '"' => quoted(rest)?,
        '`' => {
            let end = rest[1..]
                .find('`')
                .ok_or_else(|| TemplateError::Parse("unterminated raw quoted string".into()))?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        }
        '$' => {
            let name = word(1);
            (Token::Variable(name.to_owned()), 1 + name.len())
        }
        '.' => match word(1) {
            "" => (Token::Dot, 1),
            name => {
                let field = Token::Field {
                    name: name.to_owned(),
                    joined,
                };
                (field, 1 + name.len())
            }
        },
        '-' | '+' | '0'..='9' => {
            let digits = word(1);
            let text = &rest[..=digits.len()];
            let number = text
                .parse()
                .map_err(|_| TemplateError::Parse(format!("bad number syntax: \"{text}\"")))?;
            (Token::Number(number), text.len())
        }
        _ => match word(0) {
            "" => {
                let message = format!("unexpected '{first}' in command");
                return Err(TemplateError::Parse(message));
            }
            name => (Token::Word(name.to_owned()), name.len()),
        },
    })
}

/// Reads a string in double quotes with Go's simple escapes.
fn quoted(rest: &str) -> Result<(Token, usize), TemplateError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((Token::Text(text), at + 1)),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    Err(TemplateError::Parse("unterminated quoted string".into()))
}
