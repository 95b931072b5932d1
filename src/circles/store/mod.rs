//! SQL of circles, by what it is about.

pub mod circles;
pub mod locks;
pub mod log;
