//! Containers from end to end: what a user does with them after `run`, among
//! themselves and on their host.

mod asked;
mod base;
mod cdi;
mod confined;
mod copy;
mod flags;
mod health;
mod hostile;
mod life;
mod limits;
mod links;
mod logs;
mod network;
mod published;
mod refusals;
mod restart;
mod robust;
mod runtime_schema;
mod runtimes;
mod terminal;
mod words;
