//! Devices by the Container Device Interface: named in files of their vendors,
//! which say what a container needs to use them.
//!
//! Names of devices go in, [`Edits`] come out: variables, device nodes, mounts,
//! groups and hooks. Files of a later directory stand over those of an earlier
//! one; two files of one directory that both have a device make it unusable. A
//! file that cannot be read or breaks the rules counts as absent, and its error is
//! told when a device is missing.
//!
//! Source: container-device-interface 1.1.0, SPEC.md.

mod document;
mod edits;
mod names;
mod registry;

pub(super) use edits::Edits;
pub use names::is_qualified;
pub use registry::Registry;

/// Where files are looked for, later ones first.
pub(super) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

#[cfg(test)]
mod tests;
