//! How large what every machine boots is, and which dependency has which part in it.
//!
//! The loader is linked once more with names that tell crates apart, and with a map of what went where:
//! `make bench-build`. Its code is that of the loader that ships.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

mod contest;
mod crate_graph;
mod images;
mod linker_map;
mod report;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate_graph::{Graph, is_own};
use images::Bench;
use linker_map::Shares;
use report::{Report, Table, Target};
use support::release::{Desk, LOADER};

const INITRAMFS: Target = Target::AtMost(3e6);

/// As the initramfs is compressed.
const ZSTD_LEVEL: i32 = 19;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut report = Report::begin("size");
    let bench = Bench::build().await;
    report.add(&artifacts(&bench.desk));
    let graph = Graph::of_loader();
    let mapped = images::built("size/x86_64-unknown-linux-gnu/release/sealboot-init");
    let map = fs::read_to_string(mapped.with_file_name("sealboot-init.map")).unwrap();
    let shares = linker_map::read(&map, |name| graph.contains(name) || is_own(name));
    let stripped = fs::metadata(&mapped).unwrap().len();
    let told = as_f64(shares.total()) / as_f64(stripped);
    assert!(
        (0.9..=1.0).contains(&told),
        "the map tells of {told:.2} of the loader"
    );
    report.add(&kinds(&shares, stripped));
    report.add(&direct_dependencies(&graph, &shares));
    report.add(&shared(&graph, &shares));
    report.write();
}

/// The loader and the initramfs that holds it.
fn artifacts(desk: &Desk) -> String {
    let mut table = Table::new(&["artifact", "as it is", "zstd -19", "target ≤ 3 MB"]);
    let loader = images::built(LOADER);
    let bytes = fs::read(&loader).unwrap();
    let packed = zstd::bulk::compress(&bytes, ZSTD_LEVEL).unwrap();
    table.row(&[
        "loader, stripped",
        &mb(bytes.len() as u64),
        &mb(packed.len() as u64),
        "",
    ]);
    let [plain, packed] = ["none", "zstd"].map(|compress| initramfs(desk, &loader, compress));
    table.row(&[
        "initramfs: loader, policy, roots, virtio modules",
        &mb(plain),
        &mb(packed),
        &INITRAMFS.judge(as_f64(packed), ""),
    ]);
    table.into_text()
}

/// The length of the initramfs that `initramfs build` makes with its own set of modules.
fn initramfs(desk: &Desk, loader: &Path, compress: &str) -> u64 {
    #[rustfmt::skip]
    desk.run(&[
        "initramfs", "build", "--loader", loader.to_str().unwrap(), "--policy", "trust.json",
        "--tls-roots", "tls/ca.pem", "--modules-dir", desk.packages.modules.to_str().unwrap(),
        "--compress", compress, "--out", "initramfs",
    ]);
    fs::metadata(desk.path("initramfs")).unwrap().len()
}

/// What the loader is made of, by kind.
fn kinds(shares: &Shares, stripped: u64) -> String {
    let own = shares.crates.iter().filter(|(name, _)| is_own(name));
    let own: u64 = own.map(|(_, bytes)| bytes).sum();
    let std = shares.crates.get("std").copied().unwrap_or_default();
    let crates: u64 = shares.crates.values().sum();
    let mut table = Table::new(&["part of the loader", "bytes", "share"]);
    for (part, bytes) in [
        ("Sealboot itself", own),
        ("its dependencies, in Rust", crates - own - std),
        ("aws-lc: C and assembly", shares.aws_lc),
        ("the standard library", std),
        ("the C library", shares.libc),
        ("constants of Rust without a name", shares.nameless),
        ("tables for unwinding and relocating", shares.tables),
        (
            "the file's own headers, and gaps",
            stripped.saturating_sub(shares.total()),
        ),
        ("all of it", stripped),
    ] {
        let share = format!("{:.1} %", 100.0 * as_f64(bytes) / as_f64(stripped));
        table.row(&[part, &kb(bytes), &share]);
    }
    table.into_text()
}

/// What each direct dependency adds, the largest first.
fn direct_dependencies(graph: &Graph, shares: &Shares) -> String {
    let mut rows: Vec<_> = graph
        .direct()
        .map(|name| {
            let brought = graph.brought_by(name);
            (size_of(shares, &brought), name, brought)
        })
        .collect();
    rows.sort_by_key(|(size, name, _)| (std::cmp::Reverse(*size), *name));
    let mut table = Table::new(&[
        "direct dependency",
        "it and what it alone brings",
        "of that itself",
        "crates it alone brings",
        "also needed by",
    ]);
    for (size, name, brought) in rows {
        let others = graph.needed_by(name);
        table.row(&[
            format!("`{name}`"),
            kb(size),
            kb(size_of(shares, &BTreeSet::from([name]))),
            (brought.len() - 1).to_string(),
            match &others[..] {
                [] => "nobody".to_owned(),
                [one] => format!("`{one}`"),
                [one, rest @ ..] => format!("`{one}` and {} more", rest.len()),
            },
        ]);
    }
    table.into_text()
}

/// What several direct dependencies bring together, and is named by none in `Cargo.toml`.
fn shared(graph: &Graph, shares: &Shares) -> String {
    let alone: BTreeSet<&str> = graph
        .direct()
        .flat_map(|name| graph.brought_by(name))
        .collect();
    let mut rows: Vec<(u64, &str)> = graph
        .below()
        .filter(|name| !alone.contains(name))
        .map(|name| (size_of(shares, &BTreeSet::from([name])), name))
        .collect();
    rows.sort_by_key(|(size, name)| (std::cmp::Reverse(*size), *name));
    let shown = rows
        .iter()
        .take(8)
        .map(|(size, name)| format!("`{name}` {}", kb(*size)));
    let shown: Vec<String> = shown.collect();
    format!(
        "Brought by several of them together: {} in {} crates; the largest are {}.",
        kb(rows.iter().map(|(size, _)| size).sum()),
        rows.len(),
        shown.join(", "),
    )
}

/// The crates' own bytes; aws-lc's C is its crate's.
fn size_of(shares: &Shares, crates: &BTreeSet<&str>) -> u64 {
    let own = |name: &&str| shares.crates.get(*name).copied().unwrap_or_default();
    let c = if crates.contains("aws_lc_sys") {
        shares.aws_lc
    } else {
        0
    };
    crates.iter().map(own).sum::<u64>() + c
}

fn mb(bytes: u64) -> String {
    format!("{:.2} MB", as_f64(bytes) / 1e6)
}

fn kb(bytes: u64) -> String {
    format!("{:.0} KB", as_f64(bytes) / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
