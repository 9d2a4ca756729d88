//! Containers among themselves and on their host.

mod network;
