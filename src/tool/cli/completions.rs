//! `sealboot completions`.

use super::support::{Failure, output};

/// Print a completion script for a shell.
///
/// For bash: `sealboot completions bash > ~/.local/share/bash-completion/completions/sealboot`.
/// For zsh, write it to a file named `_sealboot` in a directory of $fpath; for fish, to
/// ~/.config/fish/completions/sealboot.fish.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sealboot", &mut script);
    output::data(&String::from_utf8_lossy(&script))
}
