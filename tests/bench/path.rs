//! The loader's way from a mirror into memory, beside the least that anyone could do with the same bytes.
//!
//! `make bench BENCH=path`; or `cargo bench --bench path -- 20`, after `make bench-build`, which measures
//! images of 20 MB alone and leaves the document as it is.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

mod contest;
mod images;
mod report;

use std::env;
use std::process::Command;

use contest::{Spread, Usage, rounds};
use images::{Bench, Encoding, GZIP, Image, PLAIN, ZSTD};
use report::{Report, Table, Target};
use support::served::Served;

const ENCODINGS: [Encoding; 3] = [PLAIN, GZIP, ZSTD];

/// Sizes in MB and how many rounds each is given: what is short is disturbed more.
const SIZES: [(u64, usize); 3] = [(20, 15), (200, 7), (1000, 5)];

/// Servers that run at once; a row of one mirror asks the first.
const MIRRORS: usize = 3;

const THROUGHPUT: Target = Target::AtLeast(0.9);
const CPU: Target = Target::AtMost(1.3);
/// Beyond the image's own bytes, which are in a tmpfs and so in no process's resident memory.
const PEAK: Target = Target::AtMost(24e6);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let asked: Vec<u64> = env::args().filter_map(|word| word.parse().ok()).collect();
    let wanted = |size| asked.is_empty() || asked.contains(&size);
    let mut report = Report::begin("path");
    let bench = Bench::build().await;
    let mut table = Table::new(&[
        "image",
        "against",
        "theirs",
        "mirrors",
        "ours",
        "throughput, target ≥ 0.9",
        "CPU, target ≤ 1.3",
        "our peak, target ≤ 24 MB",
    ]);
    for encoding in ENCODINGS {
        for (size, count) in SIZES.into_iter().filter(|(size, _)| wanted(*size)) {
            let image = bench.image(encoding, size * 1_000_000);
            let mut servers = Vec::new();
            for _ in 0..MIRRORS {
                servers.push(bench.desk.serve(&image.store).await);
            }
            let name = format!("{size} MB, {}", encoding.name);
            Duel {
                bench: &bench,
                encoding,
                image,
                servers,
            }
            .fight(&name, count, &mut table);
        }
    }
    let table = table.into_text();
    if asked.is_empty() {
        report.add(&table);
        report.write();
    } else {
        eprintln!("{table}");
    }
}

/// One image, and who serves it.
struct Duel<'a> {
    bench: &'a Bench,
    encoding: Encoding,
    image: Image,
    servers: Vec<Served>,
}

impl Duel<'_> {
    /// Lets all have their rounds, and adds a row for each pair that says something.
    fn fight(&self, name: &str, count: usize, table: &mut Table) {
        let mut contestants: Vec<Box<dyn FnMut() -> Usage + '_>> = vec![
            Box::new(|| self.ours(1)),
            Box::new(|| self.ours(MIRRORS)),
            Box::new(|| self.least(None)),
        ];
        if let Some(command) = self.encoding.decompress {
            contestants.push(Box::new(move || self.least(Some(command))));
        }
        let rounds = rounds(count, &mut contestants);
        let name = format!("{name} ({:.0} MB stored)", megabytes(self.image.stored));
        let mut row = |ours: usize, theirs: usize, against: &str| {
            let throughput = Spread::of(&rounds, |round| round[theirs].wall / round[ours].wall);
            let cpu = Spread::of(&rounds, |round| round[ours].cpu / round[theirs].cpu);
            let peak = Spread::of(&rounds, |round| round[ours].peak).middle;
            table.row(&[
                &name,
                against,
                &shown(&rounds, theirs),
                ["1", "3"][ours],
                &shown(&rounds, ours),
                &THROUGHPUT.judge(throughput.middle, &throughput.to_string()),
                &CPU.judge(cpu.middle, &cpu.to_string()),
                &PEAK.judge(peak, &format!("{:.1} MB", peak / 1e6)),
            ]);
        };
        for ours in 0..2 {
            row(ours, 2, "`curl \\| openssl`");
            if let Some(command) = self.encoding.decompress {
                row(ours, 3, &format!("`curl \\| {command} \\| openssl`"));
            }
        }
    }

    /// The loader's path, from so many mirrors.
    fn ours(&self, mirrors: usize) -> Usage {
        let urls: Vec<String> = self.servers[..mirrors]
            .iter()
            .map(|server| server.url.clone())
            .collect();
        let (usage, received) = self.bench.fetch(&urls);
        assert!(received >= self.image.stored, "{received} bytes");
        usage
    }

    /// Fetches the archive as curl does and hashes it as OpenSSL does, from one mirror; keeps nothing.
    fn least(&self, decompress: Option<&str>) -> Usage {
        let between = decompress.map_or(String::new(), |command| format!("| {command} "));
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c"]).arg(format!(
            "curl --silent --show-error --fail --cacert '{}' {}{} {between}| openssl dgst -sha256",
            self.bench.desk.roots().display(),
            self.servers[0].url,
            self.image.blob,
        ));
        let (usage, printed) = contest::run(&command, self.bench.desk.directory());
        let digest = printed.trim_end().rsplit(' ').next().unwrap();
        assert!(
            decompress.is_some() || self.image.blob.contains(digest),
            "{printed} of {}",
            self.image.blob
        );
        usage
    }
}

/// Time, processor time and peak of one contestant.
fn shown(rounds: &[Vec<Usage>], at: usize) -> String {
    let middle = |figure: fn(&Usage) -> f64| Spread::of(rounds, |round| figure(&round[at])).middle;
    format!(
        "{:.3} s, {:.3} s CPU, {:.0} MB",
        middle(|usage| usage.wall),
        middle(|usage| usage.cpu),
        middle(|usage| usage.peak) / 1e6
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown in whole megabytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
