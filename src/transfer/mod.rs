//! Images between registries and the store.
//!
//! In: references and a [`Client`](crate::registry::Client). Out: images in the
//! store, or on a registry. A transfer that is stopped at any moment leaves whole
//! blobs, which the next one uses, and no half image.

mod at_once;
mod attach;
mod bring;
mod copy;
mod download;
mod error;
mod formed;
mod growing;
mod lists;
mod look;
mod origins;
mod pull;
mod push;
mod referrers;
mod send;
mod tags;
mod watch;

pub use attach::{Artifact, ArtifactFile, Attached, attach};
pub use bring::{bring, resolve};
pub use copy::{Copied, CopyOptions, copy};
pub use error::Error;
pub use formed::formed;
pub use lists::{List, ListChange, Lists, Member, PushedList, Source, index, members, push_list};
pub use look::{Remote, look};
pub use origins::Origins;
pub use pull::{PullOptions, Pulled, pull};
pub use push::{PushOptions, Pushed, push, push_from};
pub use referrers::list as referrers;
pub use tags::{TagsOf, tags_of};
pub use watch::{LayerState, Unwatched, Watch};
