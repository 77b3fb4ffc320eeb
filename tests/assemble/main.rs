//! `image pack` and `initramfs build` on the real binary: same inputs, same bytes; bounded memory; and
//! every mistake said in full, with nothing left behind.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod bench;
mod initramfs;
mod inspect;
mod pack;
