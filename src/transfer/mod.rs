//! Images between registries and the store.
//!
//! In: references and a [`Client`](crate::registry::Client). Out: images in the
//! store, or on a registry. A transfer that is stopped at any moment leaves whole
//! blobs, which the next one uses, and no half image.

mod at_once;
mod bring;
mod download;
mod error;
mod formed;
mod growing;
mod origins;
mod pull;
mod push;
mod send;
mod tags;
mod watch;

pub use bring::{bring, resolve};
pub use error::Error;
pub use formed::formed;
pub use origins::Origins;
pub use pull::{PullOptions, Pulled, pull};
pub use push::{PushOptions, Pushed, push, push_from};
pub use tags::tags_of;
pub use watch::{LayerState, Unwatched, Watch};
