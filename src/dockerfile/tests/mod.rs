//! Tests of the whole language: goldens of our own, vectors of others, and
//! random input.

mod goldens;
mod random;
mod vectors;
