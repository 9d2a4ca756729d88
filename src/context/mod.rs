//! What COPY and ADD may see of a build context: a directory, less what its
//! ignore file leaves out, with content digests that are remembered between builds.
//!
//! Files are only looked at where an instruction names them, so a huge context
//! costs what is used of it. The context is hostile: every path is opened
//! beneath its root, links are followed inside it only.

mod ignore;
mod memory;
mod source;
mod tree;

pub use ignore::{IgnoreError, Patterns, Verdict};
pub use memory::{Memory, Stamp};
pub use source::{SourceError, is_archive, unpack_archive};
pub use tree::Context;
