//! Reproducible artifacts.

pub mod tls;
