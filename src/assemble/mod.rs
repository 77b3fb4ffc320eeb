//! Reproducible artifacts.
