//! What COPY and ADD may see of a build context: a directory, less what its
//! ignore file leaves out, with content digests that are remembered between builds.
//!
//! Files are only looked at where an instruction names them, so a huge context
//! costs what is used of it. The context is hostile: every path is opened
//! beneath its root, links are followed inside it only.

mod ignore;
mod memory;
mod source;
mod survey;
mod tree;

pub use ignore::{IgnoreError, IgnoreLine, Patterns, Verdict};
pub use memory::{Memory, Stamp};
pub use source::{SourceError, is_archive, unpack_archive};
pub use survey::{Kind, Survey, Surveyed};
pub use tree::Context;
