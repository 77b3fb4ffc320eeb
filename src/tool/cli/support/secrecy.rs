//! Keeping secrets out of what outlives the process.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use super::Failure;

/// From here on, this process leaves no core dump, and no other process of the same user can read its
/// memory (prctl(2), `PR_SET_DUMPABLE`). Called before the first byte of a secret is read.
///
/// The limit on core files alone would not do: one that is piped to a program, as systemd-coredump's,
/// has none.
pub(in crate::cli) fn protect() -> Result<(), Failure> {
    prctl::set_dumpable(false)
        .and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0))
        .map_err(|error| Failure::new("cannot keep secrets out of core dumps").because(&error))
}
