//! newc archives.
