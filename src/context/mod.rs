//! What COPY and ADD may see of a build context.

mod ignore;

pub use ignore::{IgnoreError, Patterns, Verdict};
