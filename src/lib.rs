//! rbuild: builds OCI images from Dockerfiles and runs them, without a daemon.
//!
//! The modules below are the floors of the building, from the ground up. A
//! module uses only modules on floors beneath its own, and modules of one floor
//! do not know each other; `tests/suite/tidy.rs` reads this file and fails on
//! any `crate::` path that points sideways or upwards. `docs/architecture.md`
//! walks through the rooms.

// Floor 0, ground: vocabulary and primitives. They use nothing of ours.
pub mod dockerfile;
pub mod fs;
pub mod oci;
pub mod progress;
#[allow(unsafe_code, reason = "the only module that calls the kernel directly")]
pub mod sys;
pub mod template;
pub mod yaml;

// Floor 1, content: bytes by digest, trees as bytes, bytes from elsewhere.
pub mod http;
pub mod layer;
pub mod serve;
pub mod store;

// Floor 2, trees: layers stacked into file systems.
pub mod snapshot;

// Floor 3, images: what stored bytes and trees mean together.
pub mod image;

// Floor 4, services: one outside thing each.
pub mod context;
pub mod network;
pub mod registry;
pub mod remote;
pub mod sandbox;

// Floor 5, transfer: images between registries and the store, and a registry of
// our own over it.
pub mod depot;
pub mod transfer;

// Floor 6, workflows: the life of a build, the life of a container.
pub mod build;
pub mod container;

// Floor 7, engine: one function for each thing a user can ask.
pub mod engine;
