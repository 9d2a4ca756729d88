//! `--chmod`: octal, or symbolic as chmod(1) has it.
//!
//! A symbolic mode is a list of clauses, `who op permissions`, which are applied
//! one after the other. `X` looks at the mode from before all of them. The file
//! creation mask plays no part: `+w` is `a+w`.

/// What a mode may be made of: set-ID bits and permissions.
const STANDARD: u32 = 0o6777;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const RUN: u32 = 0o111;
/// Largest octal mode.
const LARGEST: u32 = 0o7777;

/// What `--chmod` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    /// This mode.
    Octal(u32),
    /// The source's mode, changed.
    Symbolic(Symbolic),
}

/// A symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbolic {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Adds bits.
    Add(u32),
    /// Takes bits away.
    Remove(u32),
    /// Adds bits to directories and to what anybody may run.
    AddToRunnable(u32),
    /// Does `op` with the permissions of one class of users to the others.
    Copy { from: u32, to: u32, op: char },
}

/// A text that is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadMode {
    /// It looks like a number, but is not octal or too large.
    Number,
    /// It is no symbolic mode.
    Syntax,
}

impl Chmod {
    /// Reads a mode.
    pub(super) fn parse(text: &str) -> Result<Self, BadMode> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok();
            let mode = mode.filter(|mode| *mode <= LARGEST);
            return mode.map(Self::Octal).ok_or(BadMode::Number);
        }
        let steps = steps(text).ok_or(BadMode::Syntax)?;
        let text = text.to_owned();
        Ok(Self::Symbolic(Symbolic { text, steps }))
    }

    /// The mode of a copied file or directory that has the mode `old` at its source.
    pub(super) fn apply(&self, old: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(symbolic) => symbolic.apply(old, is_dir),
        }
    }

    /// The mode of a directory that has to be made.
    pub(super) fn of_new_directory(&self) -> u32 {
        match self {
            Self::Octal(mode) => mode & 0o777,
            Self::Symbolic(_) => 0o755,
        }
    }

    /// The mode that every copied file gets whatever its own is, if there is one.
    pub(super) fn fixed(&self) -> Option<u32> {
        match self {
            Self::Octal(mode) => Some(*mode),
            Self::Symbolic(_) => None,
        }
    }
}

impl std::fmt::Display for Chmod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Octal(mode) => write!(f, "{mode:04o}"),
            Self::Symbolic(symbolic) => f.write_str(&symbolic.text),
        }
    }
}

impl Symbolic {
    fn apply(&self, old: u32, is_dir: bool) -> u32 {
        let mut mode = old;
        for step in &self.steps {
            match *step {
                Step::Add(bits) => mode |= bits,
                Step::Remove(bits) => mode &= !bits,
                Step::AddToRunnable(bits) if is_dir || old & RUN != 0 => mode |= bits,
                Step::AddToRunnable(_) => {}
                Step::Copy { from, to, op } => {
                    let bits = (((mode >> from) & 7) * 0o111) & to;
                    mode = match op {
                        '+' => mode | bits,
                        '-' => mode & !bits,
                        _ => (mode & !to) | bits,
                    };
                }
            }
        }
        mode
    }
}

/// Reads all clauses; `None` when one is malformed.
fn steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for clause in text.split(',') {
        let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        let who = clause[..clause.len() - actions.len()].chars().map(class);
        let who = who.fold(0, |all, one| all | one);
        let mut chars = actions.chars().peekable();
        // At least one action; further ones may follow without a comma: `u+r-w`.
        loop {
            let op = chars.next().filter(|op| matches!(op, '+' | '-' | '='))?;
            let mut action = Action::new(op, who);
            while let Some(permission) = chars.next_if(|next| !matches!(next, '+' | '-' | '=')) {
                action.take(permission, &mut steps)?;
            }
            action.finish(&mut steps);
            if chars.peek().is_none() {
                break;
            }
        }
    }
    Some(steps)
}

/// The bits that a class of users has in a mode.
fn class(who: char) -> u32 {
    match who {
        'u' => 0o4700,
        'g' => 0o2070,
        'o' => 0o007,
        _ => STANDARD,
    }
}

/// One `op permissions`.
struct Action {
    op: char,
    /// The classes it is for; 0 where none is written, which means all.
    who: u32,
    bits: u32,
    run_bits: u32,
    /// Whether `=` has taken away what was there.
    is_cleared: bool,
}

impl Action {
    fn new(op: char, who: u32) -> Self {
        Self {
            op,
            who,
            bits: 0,
            run_bits: 0,
            is_cleared: false,
        }
    }

    fn take(&mut self, permission: char, steps: &mut Vec<Step>) -> Option<()> {
        let only_others = self.who != 0 && self.who & !0o007 == 0;
        match permission {
            'r' => self.bits |= 0o444,
            'w' => self.bits |= 0o222,
            'x' => self.bits |= RUN,
            'X' if self.op == '-' => self.bits |= RUN,
            'X' => self.run_bits = RUN,
            's' if !only_others => self.bits |= SET_ID,
            't' if !only_others => {
                self.who |= STICKY;
                self.bits |= STICKY;
            }
            's' | 't' => {}
            'u' | 'g' | 'o' => {
                self.flush(steps);
                self.is_cleared |= self.op == '=';
                let to = if self.who == 0 { STANDARD } else { self.who };
                steps.push(Step::Copy {
                    from: match permission {
                        'u' => 6,
                        'g' => 3,
                        _ => 0,
                    },
                    to: to & 0o777,
                    op: self.op,
                });
            }
            _ => return None,
        }
        Some(())
    }

    /// Adds the steps for what was read so far.
    fn flush(&mut self, steps: &mut Vec<Step>) {
        let reach = if self.who == 0 { u32::MAX } else { self.who };
        if self.bits != 0 {
            self.set(reach, steps);
        }
        if self.run_bits != 0 {
            steps.push(Step::AddToRunnable(self.run_bits & reach));
        }
        (self.bits, self.run_bits) = (0, 0);
    }

    fn set(&mut self, reach: u32, steps: &mut Vec<Step>) {
        if self.op == '-' {
            steps.push(Step::Remove(self.bits & reach));
            return;
        }
        if self.op == '=' {
            let all = if self.who == 0 { STANDARD } else { self.who };
            steps.push(Step::Remove(all));
            self.is_cleared = true;
        }
        steps.push(Step::Add(self.bits & reach));
    }

    fn finish(mut self, steps: &mut Vec<Step>) {
        if self.op == '=' && !self.is_cleared && self.bits == 0 {
            self.set(0, steps);
        }
        self.flush(steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes_change_a_mode_as_chmod_does() {
        let cases = [
            ("go-w", 0o124, 0o104, false),
            ("u+rw,g+r,o-x,o+w", 0o124, 0o766, false),
            ("a+X", 0o124, 0o135, true),
            ("a+X", 0o644, 0o644, false),
            ("a+X", 0o744, 0o755, false),
            ("u=rwX,go=rX", 0o600, 0o644, false),
            ("u=rwX,go=rX", 0o700, 0o755, false),
            ("u=rwX,go=rX", 0o600, 0o755, true),
            ("+x", 0o644, 0o755, false),
            ("-x", 0o755, 0o644, false),
            ("=r", 0o4755, 0o444, false),
            ("u+s", 0o755, 0o4755, false),
            ("g+s,+t", 0o755, 0o3755, false),
            ("o+s", 0o755, 0o755, false),
            ("g=u", 0o741, 0o771, false),
            ("go=u-w", 0o700, 0o755, false),
            ("o=", 0o777, 0o770, false),
            ("=", 0o777, 0, false),
            ("u-s", 0o4755, 0o755, false),
            ("u=rg", 0o070, 0o770, false),
            ("a-X", 0o755, 0o644, false),
            ("a-x,a+X", 0o755, 0o755, false),
        ];
        for (text, old, new, is_dir) in cases {
            let mode = Chmod::parse(text).unwrap();
            assert_eq!(mode.apply(old, is_dir), new, "{text} on {old:o}");
            assert_eq!(mode.to_string(), text);
            assert_eq!(mode.fixed(), None);
            assert_eq!(mode.of_new_directory(), 0o755);
        }
    }

    #[test]
    fn octal_modes_are_the_mode() {
        let mode = Chmod::parse("4755").unwrap();
        assert_eq!(
            (mode.apply(0o600, true), mode.fixed()),
            (0o4755, Some(0o4755))
        );
        assert_eq!(mode.of_new_directory(), 0o755);
        assert_eq!(Chmod::parse("0").unwrap().to_string(), "0000");
        for text in ["8", "77777", "0o644", "64a", "99999999999999999999"] {
            assert_eq!(Chmod::parse(text), Err(BadMode::Number), "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in [
            "", "u", "rwx", "u+rw,", ",u+r", "u+q", "+755", "u rw", "z=r", "u+r,,g+r",
        ] {
            assert_eq!(Chmod::parse(text), Err(BadMode::Syntax), "{text}");
        }
    }
}
