//! The environment that words are expanded against.

use crate::dockerfile::Scope;

/// Names and values in the order of their first assignment; assigning again
/// replaces in place, as Docker keeps `Env`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The names that are set.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn to_pairs(&self) -> Vec<(String, String)> {
        self.0.clone()
    }

    /// `NAME=value` lines; a line without `=` is a name with an empty value.
    pub(super) fn from_lines(lines: &[String]) -> Self {
        let mut variables = Self::new();
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            variables.set(name, value);
        }
        variables
    }
}

impl Scope for Variables {
    fn get(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }
}

impl From<Vec<(String, String)>> for Variables {
    fn from(pairs: Vec<(String, String)>) -> Self {
        let mut variables = Self::new();
        for (name, value) in pairs {
            variables.set(&name, &value);
        }
        variables
    }
}
