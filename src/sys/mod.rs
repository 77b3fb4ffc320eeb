//! The one home of `unsafe`.

pub mod packet;
