//! Getting bytes from mirrors that are trusted for nothing else.
//!
//! ```text
//!           commands           requests            bytes           checked chunks, in their order
//! schedule ──────────▶ archive ────────▶ transfer ────────▶ chunk ────────────────────────────────▶ unpack
//!    ▲                  │  ▲              (client, answer)    │     (in_order)                        │
//!    └──────────────────┘  └──────────────────────────────────┴───────────────────────────────────────┘
//!     events, with the time              reports: received, checked, failed, taken
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`client`] | HTTPS with the baked-in roots, or mirrors' keys, alone; small files, bounded |
//! | `mirror_keys` | mirrors that are known by their keys |
//! | `unset_clock` | certificates, where the machine does not know what time it is |
//! | [`schedule`] | which mirror is asked for which chunks, and when: pure |
//! | [`chunk_list`] | the hashes of an archive's chunks, from the first mirror that has them |
//! | [`archive`] | the shell round it: the clock, and what the console says |
//! | `transfer` | one request, from its head to chunks that are checked |
//! | `answer` | whether a head announces what was asked for: pure |
//! | [`problem`] | what can be wrong with a fetch, and what that means for the mirror |
//! | [`in_order`] | chunks that came too early |
//! | [`reputation`] | which mirrors have lied in this boot |
//!
//! What leaves this module is an envelope for [`sealboot_core::trust`] to judge, and [`VerifiedChunk`](sealboot_core::archive::VerifiedChunk)s.

mod answer;
pub mod archive;
pub mod chunk_list;
pub mod client;
pub mod in_order;
mod mirror_keys;
pub mod problem;
mod progress;
mod report;
pub mod reputation;
pub mod schedule;
mod transfer;
mod unset_clock;

pub use archive::{ArchiveError, Download, Fetched};
pub use client::Client;
pub use in_order::InOrder;
pub use mirror_keys::key_of;
pub use problem::FetchError;
pub use reputation::Reputation;
pub use schedule::Patience;
