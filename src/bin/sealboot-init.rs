//! The loader: PID 1 of an initramfs that `sealboot initramfs build` made.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        sealboot::boot::run();
    }
    // Outside of an initramfs there is nothing to take over, and mounts to break.
    let mut console =
        sealboot::boot::console::Console::new(std::io::stderr(), &sealboot::boot::LOADER);
    console.say(sealboot::format::layout::LOADER_MARKER);
    ExitCode::from(2)
}
