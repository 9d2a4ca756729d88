//! Networks and attachments: the default bridge, addresses, NAT, published ports.

mod attach;
mod ports;
mod resolver;

pub use attach::{Attachment, Error, attach, teardown_default};
pub use ports::{PortForward, PortPublish, Publisher};
pub use resolver::{hosts_file, resolv_conf};

/// Name of the default network.
pub const DEFAULT: &str = "bridge";
