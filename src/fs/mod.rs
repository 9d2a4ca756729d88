//! Files done safely, on safe system calls only: opening paths strictly beneath
//! a directory, replacing files atomically, advisory locks, and errors that name
//! the path and the action.

mod atomic;
mod error;
mod lock;
mod root;

pub use atomic::{replace, sync_dir};
pub use error::{At, PathError};
pub use lock::Lock;
pub use root::{Root, remove_tree};
