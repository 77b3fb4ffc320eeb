//! The smallest memory that boots.

use std::fmt::Write as _;
use std::fs;

use sealboot::vm::Machine;

use super::guest::{self, MARKER, watch};
use super::images::{Bench, Image};

/// Memory is tried in steps of this many MiB.
const STEP: u32 = 32;

/// Measures each image, whose ratio is to be at most the number beside it.
pub(crate) async fn table(bench: &Bench, images: &[(&Image, f64)]) -> String {
    let mut text = "| initrd | MiB | floor, MiB | through the loader, MiB | ratio | target |\n\
                    |---|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (image, target) in images {
        let initrd = fs::metadata(&image.initrd).unwrap().len() >> 20;
        let floor = floor(image).await;
        let loader = loader(bench, image, floor).await;
        let ratio = f64::from(loader) / f64::from(floor);
        let verdict = if ratio <= *target {
            "met"
        } else {
            "**missed**"
        };
        writeln!(
            text,
            "| {} | {initrd} | {floor} | {loader} | {ratio:.2} | ≤ {target} {verdict} |",
            image.name
        )
        .unwrap();
    }
    text
}

/// Doubles from what holds not even the initrd until it boots, then halves the range between.
async fn floor(image: &Image) -> u32 {
    let initrd = u32::try_from(fs::metadata(&image.initrd).unwrap().len() >> 20).unwrap();
    let mut small = initrd / STEP;
    let mut large = 2 * small + 4;
    while !boots(&guest::direct(image, large * STEP)).await {
        assert!(large < 4096 / STEP, "the floor is not to be found");
        (small, large) = (large, 2 * large);
    }
    while large - small > 1 {
        let middle = small.midpoint(large);
        if boots(&guest::direct(image, middle * STEP)).await {
            large = middle;
        } else {
            small = middle;
        }
    }
    large * STEP
}

/// Goes up from the floor until it boots, and where it boots at once, down until it does not.
async fn loader(bench: &Bench, image: &Image, floor: u32) -> u32 {
    let server = bench.serve(image).await;
    let at = |memory| guest::through_the_loader(bench, image, &server, memory);
    let mut memory = floor;
    if boots(&at(memory)).await {
        while boots(&at(memory - STEP)).await {
            memory -= STEP;
        }
    } else {
        while !boots(&at(memory + STEP)).await {
            memory += STEP;
            assert!(memory < 4 * floor, "the loader boots nothing");
        }
        memory += STEP;
    }
    memory
}

async fn boots(machine: &Machine) -> bool {
    let transcript = watch(machine, MARKER).await;
    let boots = transcript.when(MARKER).is_some();
    let word = if boots { "boots" } else { "does not boot" };
    let last = transcript.lines().last().unwrap_or_default().to_owned();
    eprintln!("boot: {} MiB {word}: {last}", machine.memory_mib);
    boots
}
