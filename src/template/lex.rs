//! Text to tokens, each with its place.

/// A token with the byte it starts at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    /// What was written.
    pub(super) text: String,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text to copy.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// White space inside an action.
    Space,
    /// A function, a keyword, `true`, `false` or `nil`.
    Word,
    /// `.` alone.
    Dot,
    /// `.Name`
    Field,
    /// `$` or `$name`
    Variable,
    /// A string in double quotes.
    Quoted,
    /// A string in back quotes.
    Raw,
    /// A character in single quotes.
    Character,
    /// A number.
    Number,
    /// `|`
    Pipe,
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,` or another character that may stand in an action.
    Char,
    /// Something that cannot be read; the text is the message.
    Error,
    /// The end of the template.
    End,
}

/// The tokens of a template; the last one is [`Kind::End`] or [`Kind::Error`].
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
        parens: 0,
    };
    if let Err(message) = lexer.run() {
        let at = lexer.at.min(text.len());
        lexer.push(Kind::Error, at, message);
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: Kind, at: usize, text: String) {
        self.tokens.push(Token { kind, at, text });
    }

    /// Takes the next `length` bytes as a token.
    fn take(&mut self, kind: Kind, length: usize) {
        let text = self.rest().get(..length).unwrap_or_default().to_owned();
        self.push(kind, self.at, text);
        self.at += length;
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(open) = self.rest().find("{{") else {
                let text = self.rest().to_owned();
                if !text.is_empty() {
                    self.push(Kind::Text, self.at, text);
                }
                self.at = self.text.len();
                self.push(Kind::End, self.at, String::new());
                return Ok(());
            };
            let after = &self.rest()[open + 2..];
            let trims = trims_left(after);
            let mut before = &self.rest()[..open];
            if trims {
                before = before.trim_end_matches(is_space);
            }
            if !before.is_empty() {
                let text = before.to_owned();
                self.push(Kind::Text, self.at, text);
            }
            self.at += open;
            let skip = if trims { 2 } else { 0 };
            if after.get(skip..).is_some_and(|rest| rest.starts_with("/*")) {
                self.comment(2 + skip)?;
                continue;
            }
            self.take(Kind::Open, 2);
            self.at += skip;
            self.parens = 0;
            self.action()?;
        }
    }

    /// Skips a comment, whose `/*` is `skip` bytes ahead.
    fn comment(&mut self, skip: usize) -> Result<(), String> {
        let body = self.at + skip + 2;
        let end = self.text[body..].find("*/").ok_or("unclosed comment")?;
        self.at = body + end + 2;
        match self.closing() {
            Some((length, trims)) => {
                self.at += length;
                if trims {
                    self.skip_space();
                }
                Ok(())
            }
            None => Err("comment ends before closing delimiter".to_owned()),
        }
    }

    /// The length of a closing delimiter that stands here, and whether it trims.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let trimmed = rest.strip_prefix(is_space)?;
        trimmed
            .starts_with("-}}")
            .then(|| (rest.len() - trimmed.len() + 3, true))
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_space).len();
    }

    fn action(&mut self) -> Result<(), String> {
        loop {
            if let Some((length, trims)) = self.closing() {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.take(Kind::Close, length);
                if trims {
                    self.skip_space();
                }
                return Ok(());
            }
            let Some(first) = self.rest().chars().next() else {
                return Err("unclosed action".to_owned());
            };
            self.token(first)?;
        }
    }

    fn token(&mut self, first: char) -> Result<(), String> {
        let rest = self.rest();
        match first {
            c if is_space(c) => {
                let space = rest.len() - rest.trim_start_matches(is_space).len();
                // The last one may belong to a closing delimiter.
                let length = if space > 1 && rest[space..].starts_with("-}}") {
                    space - 1
                } else {
                    space
                };
                self.take(Kind::Space, length);
            }
            '|' => self.take(Kind::Pipe, 1),
            '=' => self.take(Kind::Assign, 1),
            ':' if rest.starts_with(":=") => self.take(Kind::Declare, 2),
            ':' => return Err("expected :=".to_owned()),
            '(' => {
                self.parens += 1;
                self.take(Kind::LeftParen, 1);
            }
            ')' if self.parens == 0 => return Err("unexpected right paren".to_owned()),
            ')' => {
                self.parens -= 1;
                self.take(Kind::RightParen, 1);
            }
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::Character, "unterminated character constant")?,
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or("unterminated raw quoted string")?;
                self.take(Kind::Raw, end + 2);
            }
            '$' => self.name(Kind::Variable)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                if rest[1..].starts_with(is_word) {
                    self.name(Kind::Field)?;
                } else {
                    self.take(Kind::Dot, 1);
                }
            }
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            c if is_word(c) => self.name(Kind::Word)?,
            c if c.is_ascii_graphic() => self.take(Kind::Char, 1),
            c => {
                return Err(format!("unrecognized character in action: {}", unicode(c)));
            }
        }
        Ok(())
    }

    /// A name after its first character; what follows it must end it.
    fn name(&mut self, kind: Kind) -> Result<(), String> {
        let rest = self.rest();
        let start = usize::from(kind != Kind::Word);
        let length = rest[start..]
            .find(|c: char| !is_word(c))
            .map_or(rest.len(), |at| at + start);
        self.take(kind, length);
        let next = self.rest().chars().next();
        let ends = |c: char| is_space(c) || ".,|:)(".contains(c);
        match next {
            Some(c) if !ends(c) && !self.rest().starts_with("}}") => {
                Err(format!("bad character {}", unicode(c)))
            }
            _ => Ok(()),
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, open: &str) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some((_, '\n')) | None => break,
                    Some(_) => {}
                },
                '\n' => break,
                c if c == quote => {
                    self.take(kind, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(open.to_owned())
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let mut length = sign;
        let mut before = ' ';
        for char in rest[sign..].chars() {
            let exponent = matches!(before, 'e' | 'E' | 'p' | 'P') && matches!(char, '+' | '-');
            if !(is_word(char) || char == '.' || exponent) {
                break;
            }
            length += char.len_utf8();
            before = char;
        }
        let text = &rest[..length];
        if super::number::parse(text).is_none() {
            return Err(format!("bad number syntax: {}", super::printf::quote(text)));
        }
        self.take(Kind::Number, length);
        Ok(())
    }
}

fn trims_left(after: &str) -> bool {
    after
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A character as Go's `%#U`.
fn unicode(c: char) -> String {
    if c.is_control() {
        format!("U+{:04X}", u32::from(c))
    } else {
        format!("U+{:04X} '{c}'", u32::from(c))
    }
}
