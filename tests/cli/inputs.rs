//! Files that never end.

use std::process::Output;

use tempfile::TempDir;

use super::{sealboot, text, world};

fn run(world: &TempDir, words: &[&str]) -> Output {
    let output = sealboot(world).args(words).output();
    output.expect("the program can be run")
}

#[test]
fn a_fifo_or_a_device_ends_every_command_that_reads_a_file() {
    let world = world();
    let fifo = world.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("ours");
    for path in ["fifo", "/dev/zero"] {
        for words in [
            &["policy", "check"][..],
            &["host-config", "check"],
            &["initramfs", "inspect"],
            &["tls", "pin"],
        ] {
            let output = run(&world, &[words, &[path]].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            let expected = format!(
                "error: {path} is not a regular file\nhint: save what it gives to a file, and give that\n"
            );
            assert_eq!(said, expected, "{words:?}");
        }
    }
}
