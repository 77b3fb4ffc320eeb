//! The loader: PID 1 of an initramfs that `sealboot initramfs build` made.

use std::process::ExitCode;

use sealboot_core::format::layout::LOADER_MARKER;
use sealboot_init::boot::console::Console;
use sealboot_init::boot::{self, LOADER};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::run();
    }
    // Outside of an initramfs there is nothing to take over, and mounts to break.
    let mut console = Console::new(std::io::stderr(), &LOADER);
    console.say(LOADER_MARKER);
    ExitCode::from(2)
}
