//! One event, and its line in the log.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

/// What an event is about, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The build cache.
    Builder,
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl EventKind {
    /// Docker's word.
    pub fn text(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, in nanoseconds since 1970.
    #[serde(rename = "t")]
    pub time: i64,
    /// What it happened to.
    #[serde(rename = "k")]
    pub kind: EventKind,
    /// What happened, such as `start` or `exec_create: ls`.
    #[serde(rename = "a")]
    pub action: String,
    /// The ID or name of what it happened to.
    #[serde(rename = "i")]
    pub id: String,
    /// What else is to be told, under Docker's names.
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl EventRecord {
    /// An event of now.
    pub fn now(kind: EventKind, action: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            time: crate::store::now(),
            kind,
            action: action.into(),
            id: id.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn without_attributes(&self) -> Self {
        Self {
            attributes: BTreeMap::new(),
            action: self.action.chars().take(256).collect(),
            ..self.clone()
        }
    }

    /// Its line.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}
