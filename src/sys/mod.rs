//! The one home of `unsafe`.

#[cfg(feature = "operator")]
pub mod child;
