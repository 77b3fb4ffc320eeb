//! The boot.
