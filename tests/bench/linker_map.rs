//! Whose bytes a linked program is made of, by the map that lld writes of it.
//!
//! Every function and every constant with a name stands in a section of its own, named after its v0
//! mangled symbol (<https://doc.rust-lang.org/rustc/symbol-mangling/v0.html>), which spells each crate in
//! it as `Cs`, a disambiguator in base 62, `_`, the name's length and the name. Code of C comes in objects of the archive that
//! its crate brings, or of the C library.

use std::collections::BTreeMap;

/// How wide VMA, LMA, Size and Align are together.
const NUMBERS: usize = 48;

/// Bytes of the program, by whose they are.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// By the names of crates; `std` stands for the whole standard library.
    pub(crate) crates: BTreeMap<String, u64>,
    /// C and assembly of aws-lc, constants included.
    pub(crate) aws_lc: u64,
    /// The C library and the compiler's own.
    pub(crate) libc: u64,
    /// Constants of Rust that have no name: strings, panic locations, tables.
    pub(crate) nameless: u64,
    /// What unwinding and relocating need.
    pub(crate) tables: u64,
}

impl Shares {
    /// Everything that was given to somebody.
    pub(crate) fn total(&self) -> u64 {
        let crates: u64 = self.crates.values().sum();
        crates + self.aws_lc + self.libc + self.nameless + self.tables
    }
}

/// Reads a map; `is_crate` says which names are those of crates.
pub(crate) fn read(map: &str, is_crate: impl Fn(&str) -> bool) -> Shares {
    let mut shares = Shares::default();
    // Which output section the lines are of: those in memory alone are not in the file.
    let mut counts = false;
    for line in map.lines().skip(1) {
        let mut words = line.split_whitespace();
        let (Some(address), Some(_), Some(size), Some(_), Some(name)) = (
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            continue;
        };
        let size = u64::from_str_radix(size, 16).expect("a size");
        // Behind the columns of numbers an output section is indented by one, an input section by nine,
        // and a symbol by more.
        match line.len() - line[NUMBERS..].trim_start().len() - NUMBERS {
            1 => {
                let in_file = !matches!(name, ".bss" | ".tbss" | ".relro_padding");
                let pieces = matches!(name, ".rodata" | ".text" | ".data" | ".data.rel.ro");
                counts = in_file && pieces && address != "0";
                if in_file && !pieces && address != "0" {
                    shares.tables += size;
                }
            }
            9 if counts => {
                let (object, section) = line.rsplit_once(":(").expect("an input section");
                *whose(&mut shares, object, section, &is_crate) += size;
            }
            _ => {}
        }
    }
    shares
}

fn whose<'s>(
    shares: &'s mut Shares,
    object: &str,
    section: &str,
    is_crate: impl Fn(&str) -> bool,
) -> &'s mut u64 {
    if object.contains("libaws_lc_sys-") {
        return &mut shares.aws_lc;
    }
    if object.contains(".a(") || object.ends_with("crt1.o") || object.contains("/crt") {
        return &mut shares.libc;
    }
    if object.contains("libcompiler_builtins-") {
        return shares.crates.entry("std".to_owned()).or_default();
    }
    let named = crates(section).find(|name| is_crate(name));
    match named {
        Some(name) => shares.crates.entry(name.to_owned()).or_default(),
        // Generic code of the standard library names in its end the crate that it was made for; what
        // names no crate but std's own is std's.
        None if crates(section).next().is_some() => {
            shares.crates.entry("std".to_owned()).or_default()
        }
        None => &mut shares.nameless,
    }
}

/// The names of crates in a mangled symbol, in their order.
fn crates(symbol: &str) -> impl Iterator<Item = &str> {
    symbol.match_indices("Cs").filter_map(|(at, _)| {
        let (disambiguator, rest) = symbol[at + 2..].split_once('_')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let len: usize = rest[..digits].parse().ok()?;
        let base62 = disambiguator
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric());
        rest.get(digits..digits + len).filter(|_| base62)
    })
}
