//! One pattern against one path.
//!
//! Most patterns are a plain path, a path followed by `/**` or a `**/` followed
//! by a path: these are compared as bytes. The others are tokens, tried with
//! backtracking; a position that failed once is not tried again, so the time is
//! bounded by the product of the lengths.

/// Wildcards that a pattern may have; one with more is refused.
const MAX_WILDCARDS: usize = 256;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) enum Glob {
    /// This path.
    Exact(Vec<u8>),
    /// Paths that start so.
    Prefix(Vec<u8>),
    /// Paths that end so; with a leading `/`, also the path that is the rest.
    Suffix(Vec<u8>),
    /// Anything else.
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone)]
pub(super) enum Token {
    /// These bytes.
    Literal(Vec<u8>),
    /// `?`: a character within a component.
    One,
    /// `*`: characters within a component.
    Run,
    /// `[a-z]`.
    Class(Class),
    /// `**/`: nothing, or anything up to a `/`.
    Deep,
    /// `**` at the end: anything.
    Rest,
}

/// What a character may be.
#[derive(Debug, Clone)]
pub(super) struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

/// What counts as a match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal<'e> {
    /// The whole path.
    Path,
    /// The whole path, or the path of a directory that it stands in. Has where
    /// all of them end: see [`ends`].
    PathOrParent(&'e [usize]),
    /// Some path that starts with this one, which ends with `/`.
    Beneath,
}

impl Glob {
    /// Compiles a cleaned pattern; `None` when it is malformed.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let mut reader = Reader {
            rest: pattern,
            tokens: Vec::new(),
            has_escape: false,
        };
        reader.read()?;
        let tokens = reader.tokens;
        let is_literal = |token: &Token| matches!(token, Token::Literal(_));
        Some(match tokens.as_slice() {
            [] => Self::Exact(Vec::new()),
            [Token::Literal(path)] => Self::Exact(path.clone()),
            [Token::Rest] => Self::Suffix(Vec::new()),
            [Token::Literal(path), Token::Rest] => Self::Prefix(path.clone()),
            // `**x` without a `/` is any path that ends with x; with another
            // wildcard behind it, x must begin a component.
            [Token::Deep, rest @ ..] if !reader.has_escape && rest.iter().all(is_literal) => {
                Self::Suffix(pattern.as_bytes()[2..].to_vec())
            }
            tokens => {
                let wildcards = tokens.iter().filter(|token| !is_literal(token)).count();
                (wildcards <= MAX_WILDCARDS).then_some(())?;
                Self::Tokens(tokens.to_vec())
            }
        })
    }

    /// Whether the pattern matches.
    pub(super) fn matches(&self, path: &[u8], goal: Goal<'_>) -> bool {
        match self {
            Self::Exact(exact) => match goal {
                Goal::Path => path == exact,
                Goal::PathOrParent(_) => path
                    .strip_prefix(exact.as_slice())
                    .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
                Goal::Beneath => exact.len() > path.len() && exact.starts_with(path),
            },
            Self::Prefix(prefix) => {
                path.starts_with(prefix) || (goal == Goal::Beneath && prefix.starts_with(path))
            }
            Self::Suffix(suffix) => match goal {
                Goal::Path => ends_with(path, suffix),
                Goal::PathOrParent(ends) => ends.iter().any(|end| ends_with(&path[..*end], suffix)),
                Goal::Beneath => true,
            },
            Self::Tokens(tokens) => matches_tokens(tokens, path, goal),
        }
    }
}

/// Where the parents of a path end, and the path itself.
pub(super) fn ends(path: &[u8]) -> Vec<usize> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| at).chain([path.len()]).collect()
}

fn ends_with(path: &[u8], suffix: &[u8]) -> bool {
    path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
}

fn matches_tokens(tokens: &[Token], path: &[u8], goal: Goal<'_>) -> bool {
    // Most paths fail on the ends of the pattern, which is quickly seen.
    if goal != Goal::Beneath {
        if let Some(Token::Literal(first)) = tokens.first()
            && !path.starts_with(first)
        {
            return false;
        }
        if let Some(Token::Literal(last)) = tokens.last() {
            let found = match goal {
                Goal::PathOrParent(ends) => ends.iter().any(|end| path[..*end].ends_with(last)),
                _ => path.ends_with(last),
            };
            if !found {
                return false;
            }
        }
        if !has_in_order(path, tokens) {
            return false;
        }
    }
    let mut walk = Walk {
        tokens,
        path,
        goal,
        failed: Failed::new(tokens.len() * (path.len() + 1)),
    };
    walk.matches(0, 0)
}

/// Whether all literals of a pattern stand in a path one after the other.
fn has_in_order(mut path: &[u8], tokens: &[Token]) -> bool {
    tokens.iter().all(|token| {
        let Token::Literal(literal) = token else {
            return true;
        };
        let mut starts = (0..=path.len().saturating_sub(literal.len()))
            .filter(|start| path.get(*start) == literal.first());
        let found = starts.find(|start| path[*start..].starts_with(literal));
        path = &path[found.map_or(path.len(), |start| start + literal.len())..];
        found.is_some()
    })
}

/// One attempt.
struct Walk<'g> {
    tokens: &'g [Token],
    path: &'g [u8],
    goal: Goal<'g>,
    failed: Failed,
}

impl Walk<'_> {
    /// Whether the tokens from `index` on match from `at` on.
    fn matches(&mut self, index: usize, mut at: usize) -> bool {
        for index in index..self.tokens.len() {
            let rest = &self.path[at..];
            // Whatever is still to come can be the name of something beneath.
            if self.goal == Goal::Beneath && rest.is_empty() {
                return true;
            }
            match &self.tokens[index] {
                Token::Literal(literal) => {
                    if self.goal == Goal::Beneath && literal.starts_with(rest) {
                        return literal.len() > rest.len() || index + 1 < self.tokens.len();
                    }
                    if !rest.starts_with(literal) {
                        return false;
                    }
                    at += literal.len();
                }
                Token::One => match first_char(rest) {
                    Some((char, length)) if char != '/' => at += length,
                    _ => return false,
                },
                Token::Class(class) => match first_char(rest) {
                    Some((char, length)) if class.contains(char) => at += length,
                    _ => return false,
                },
                Token::Run => return self.run(index, at),
                Token::Deep => return self.goal == Goal::Beneath || self.deep(index, at),
                Token::Rest => return true,
            }
        }
        match self.goal {
            Goal::Path => at == self.path.len(),
            Goal::PathOrParent(_) => matches!(self.path.get(at), None | Some(b'/')),
            Goal::Beneath => false,
        }
    }

    fn run(&mut self, index: usize, mut at: usize) -> bool {
        loop {
            if !self.failed.insert(index * (self.path.len() + 1) + at) {
                return false;
            }
            if self.matches(index + 1, at) {
                return true;
            }
            match first_char(&self.path[at..]) {
                Some((char, length)) if char != '/' => at += length,
                _ => return false,
            }
        }
    }

    fn deep(&mut self, index: usize, mut at: usize) -> bool {
        loop {
            if !self.failed.insert(index * (self.path.len() + 1) + at) {
                return false;
            }
            if self.matches(index + 1, at) {
                return true;
            }
            match self.path[at..].iter().position(|byte| *byte == b'/') {
                Some(slash) => at += slash + 1,
                None => return false,
            }
        }
    }
}

/// The positions that were tried.
enum Failed {
    Few([u64; 16]),
    Many(Vec<u64>),
}

impl Failed {
    fn new(positions: usize) -> Self {
        if positions <= 16 * 64 {
            Self::Few([0; 16])
        } else {
            Self::Many(vec![0; positions / 64 + 1])
        }
    }

    /// False when the position was there before.
    fn insert(&mut self, position: usize) -> bool {
        let words = match self {
            Self::Few(words) => words.as_mut_slice(),
            Self::Many(words) => words.as_mut_slice(),
        };
        let word = &mut words[position / 64];
        let bit = 1 << (position % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// The first character of a path; a byte that is no UTF-8 is one of its own.
fn first_char(path: &[u8]) -> Option<(char, usize)> {
    let first = *path.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let chunk = path[..path.len().min(4)].utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(char) => Some((char, char.len_utf8())),
        None => Some((char::REPLACEMENT_CHARACTER, 1)),
    }
}

impl Class {
    fn contains(&self, char: char) -> bool {
        let is_in = |(low, high): &(char, char)| (*low..=*high).contains(&char);
        self.ranges.iter().any(is_in) != self.is_negated
    }
}

struct Reader<'p> {
    rest: &'p str,
    tokens: Vec<Token>,
    has_escape: bool,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next();
        self.rest = chars.as_str();
        char
    }

    fn take(&mut self, char: char) -> bool {
        let rest = self.rest.strip_prefix(char);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn read(&mut self) -> Option<()> {
        while let Some(char) = self.next() {
            let token = match char {
                '*' if self.take('*') => {
                    self.take('/');
                    if self.rest.is_empty() {
                        Token::Rest
                    } else {
                        Token::Deep
                    }
                }
                '*' => Token::Run,
                '?' => Token::One,
                '[' => Token::Class(self.class()?),
                '\\' => {
                    self.has_escape = true;
                    let escaped = self.next()?;
                    self.push(escaped);
                    continue;
                }
                char => {
                    self.push(char);
                    continue;
                }
            };
            self.tokens.push(token);
        }
        Some(())
    }

    fn push(&mut self, char: char) {
        let mut buffer = [0; 4];
        let bytes = char.encode_utf8(&mut buffer).as_bytes();
        match self.tokens.last_mut() {
            Some(Token::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => self.tokens.push(Token::Literal(bytes.to_vec())),
        }
    }

    fn class(&mut self) -> Option<Class> {
        let is_negated = self.take('^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.take(']') {
            let low = self.class_char()?;
            let high = if self.take('-') {
                self.class_char()?
            } else {
                low
            };
            (low <= high).then_some(())?;
            ranges.push((low, high));
        }
        Some(Class { is_negated, ranges })
    }

    fn class_char(&mut self) -> Option<char> {
        match self.next()? {
            '-' | ']' => None,
            '\\' => self.next(),
            char => Some(char),
        }
    }
}
