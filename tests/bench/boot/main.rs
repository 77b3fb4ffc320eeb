//! What a boot through the loader costs in memory and in time, beside the least that it could.
//!
//! `make bench BENCH=boot`. Boots some thirty machines in QEMU, one after the other:
//! fifteen minutes on an idle machine with two cores and no KVM. The first run also fetches Debian
//! packages of 100 MB.
//!
//! - *memory*: the smallest that boots, in steps of 32 MiB, of kernel and initrd given to QEMU directly,
//!   which is the floor, and through the loader. A boot counts when the OS has compared every file with
//!   its checksum and says so.
//! - *time*: from the loader's first line to the handover, beside `curl | openssl dgst -sha256` of the
//!   same archive from the same server, in the same machine under the same kernel.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

mod guest;
mod images;
mod memory;
mod os;
#[path = "../report.rs"]
mod report;
mod time;

use std::time::Instant;

use images::Bench;
use report::Report;

fn main() {
    // `cargo test --benches` runs this too.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let started = Instant::now();
    // One thread: QEMU dies with the one that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut report = Report::begin("boot");
    report.add(&runtime.block_on(measure()));
    report.write();
    eprintln!(
        "boot: measured in {:.0} minutes",
        started.elapsed().as_secs_f64() / 60.0
    );
}

/// The tables.
async fn measure() -> String {
    let bench = Bench::build().await;
    let incompressible = bench.image("incompressible", os::incompressible(&bench));
    let debian = bench.image("debian", os::debian(&bench).await);
    let mut text = memory::table(&bench, &[(&incompressible, 1.4), (&debian, 1.05)]).await;
    text.push('\n');
    text += &time::table(&bench, &incompressible).await;
    text
}
