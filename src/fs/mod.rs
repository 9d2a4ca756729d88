//! Files done safely, on safe system calls only: opening paths strictly beneath
//! a directory, replacing files atomically, advisory locks, and errors that name
//! the path and the action.

mod atomic;
mod descent;
mod error;
mod lock;
mod remove;
mod root;
mod spread;

#[cfg(test)]
mod tests;

pub use atomic::{publish, replace, sync_dir};
pub use descent::Descent;
pub use error::{At, PathError};
pub use lock::Lock;
pub use remove::{remove_at, remove_tree};
pub use root::Root;
pub use spread::spread_children;
