//! The operator's tool, one file per command.
//!
//! stdout is data (paths, PEM, JSON with `--json`), stderr is talk. Exit status: 0 done, 1 failed,
//! 2 wrong usage, 3 refused: a signature, hash, policy or freshness check said no, or a loader would.

mod completions;
mod demo;
mod freshness;
mod host_config;
mod image;
mod initramfs;
mod key;
mod man;
mod policy;
mod renewing;
mod serve;
mod signatures;
mod support;
mod tls;
mod vm;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Run servers from memory alone: pack, sign, publish and boot operating-system images.
///
/// A machine boots a small loader, which fetches a signed image over TLS, checks it against the trust
/// policy that is baked into the loader, and kexecs into it. No disk is ever touched. This tool makes
/// everything that takes part: keys, policy, images, the loader's initramfs, and the server.
///
/// Exit status: 0 done, 1 failed (a file cannot be read, used or written), 2 wrong usage, 3 refused (a
/// signature, hash, policy or freshness check said no, or a loader would refuse the input).
#[derive(Debug, Parser)]
#[command(
    name = "sealboot",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Key(key::Command),
    #[command(subcommand)]
    Policy(policy::Command),
    #[command(subcommand, name = "host-config")]
    HostConfig(host_config::Command),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Signature(signatures::Command),
    #[command(subcommand)]
    Freshness(freshness::Command),
    #[command(subcommand)]
    Initramfs(initramfs::Command),
    #[command(subcommand)]
    Tls(tls::Command),
    Serve(serve::Args),
    #[command(subcommand)]
    Vm(vm::Command),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the command line, runs the command and prints its failure, if any, on stderr.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Key(command) => key::run(command),
        Command::Policy(command) => policy::run(command),
        Command::HostConfig(command) => host_config::run(command),
        Command::Image(command) => image::run(command),
        Command::Signature(command) => signatures::run(command),
        Command::Freshness(command) => freshness::run(command),
        Command::Initramfs(command) => initramfs::run(command),
        Command::Tls(command) => tls::run(command),
        Command::Serve(args) => serve::run(args),
        Command::Vm(command) => vm::run(command),
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("{failure}");
            failure.exit().into()
        }
    }
}
