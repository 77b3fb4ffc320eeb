//! The stages of a boot, in order. Each takes the type that only the stage before can make.
//!
//! | stage | module | from | to |
//! |---|---|---|---|
//! | prepare | [`prepare`] | a bare kernel | [`prepare::Prepared`] |
//! | configure | [`configure`] | baked-in files, command line | [`configure::Configured`] |
//! | connect | [`connect`] | the host config | [`connect::Connected`] |
//! | manifest | [`manifest`] | an envelope | [`manifest::Accepted`], with a `Verified<Manifest>` |
//! | image | [`image`] | checked chunks | [`image::Image`] |
//! | load | [`load`] | an image | [`load::Loaded`] |
//! | measure | [`measure`] | a loaded kernel | [`measure::Measured`] |
//! | handover | [`handover`] | a measured kernel | never returns |

pub mod configure;
pub mod connect;
pub mod handover;
pub mod image;
pub mod load;
pub mod manifest;
pub mod measure;
pub mod memory;
pub mod prepare;
