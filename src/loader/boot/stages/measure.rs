//! Stage `measure`: what is about to run is recorded in the TPM, where there is one.
//!
//! On entry the image's kernel is loaded. An extended PCR cannot be taken back, so after this stage the only ways on are
//! the handover and a reset. This version extends no PCR: it reports whether the machine has a TPM, and
//! `status=skipped`, so that no boot looks like an attested one.

use std::convert::Infallible;
use std::path::Path;

use super::load::Loaded;
use crate::boot::console::Done;

/// Proof that a kernel is loaded and has been through this stage.
#[derive(Debug)]
pub struct Measured(());

/// Reports whether the machine has a TPM.
///
/// # Errors
///
/// None, in this version.
pub fn run(_: Loaded) -> Result<Done<Measured>, Infallible> {
    let (says, tpm) = if Path::new("/sys/class/tpm/tpm0").exists() {
        (
            "this machine has a TPM, but this version measures nothing",
            "unused",
        )
    } else {
        ("no TPM, so nothing is measured", "none")
    };
    Ok(Done::skipped(Measured(()), says).with("tpm", tpm))
}
