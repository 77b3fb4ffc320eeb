//! Stage `measure`: what is about to run is recorded in the TPM, where there is one.
//!
//! On entry the image is whole. This version extends no PCR: it says whether the machine has a TPM and
//! that nothing was measured, so that nobody takes a boot for an attested one.

use std::convert::Infallible;
use std::path::Path;

use super::image::Image;
use crate::boot::console::Done;

/// An image that has been through this stage.
#[derive(Debug)]
pub struct Measured(Image);

impl Measured {
    /// The image.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.0
    }
}

/// Says what was measured.
///
/// # Errors
///
/// None, in this version.
pub fn run(image: Image) -> Result<Done<Measured>, Infallible> {
    let (says, tpm) = if Path::new("/sys/class/tpm/tpm0").exists() {
        (
            "this machine has a TPM, but this version measures nothing",
            "unused",
        )
    } else {
        ("no TPM, so nothing is measured", "none")
    };
    Ok(Done::new(Measured(image), says).with("tpm", tpm))
}
