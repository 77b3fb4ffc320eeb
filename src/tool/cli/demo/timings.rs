//! What each stage of the boot took, from the console.

use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::vm::{StageLine, os};

/// Follows a console as it comes, line by line.
#[derive(Debug)]
pub(super) struct Timings {
    power_on: Instant,
    partial: Vec<u8>,
    rows: Vec<Row>,
    last_stage: Option<Instant>,
    os_ran: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    name: String,
    took: Option<Duration>,
    note: String,
}

/// Bytes of a line that are kept: a console that never ends one must not fill memory.
const LINE_LIMIT: usize = 16 << 10;

/// Characters of a value that the table shows: URLs and names, not hashes and lists of modules, which
/// stand on the console above it.
const VALUE_LIMIT: usize = 40;

impl Timings {
    pub(super) fn new(power_on: Instant) -> Self {
        Self {
            power_on,
            partial: Vec::new(),
            rows: Vec::new(),
            last_stage: None,
            os_ran: None,
        }
    }

    /// Takes the next bytes of the console, which came at `now`.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                self.line(&String::from_utf8_lossy(&line), now);
            } else if self.partial.len() < LINE_LIMIT {
                self.partial.push(byte);
            }
        }
    }

    /// Whether the OS in the image has said that it runs.
    pub(super) const fn os_ran(&self) -> bool {
        self.os_ran.is_some()
    }

    fn line(&mut self, line: &str, now: Instant) {
        if let Some(stage) = StageLine::find(line) {
            let took = stage.milliseconds().map(Duration::from_millis);
            if self.rows.is_empty() {
                let before = now.duration_since(self.power_on);
                self.rows.push(Row {
                    name: "(firmware, kernel)".to_owned(),
                    took: Some(before.saturating_sub(took.unwrap_or_default())),
                    note: "from power-on to the loader, by this host's clock".to_owned(),
                });
            }
            let details = stage
                .details()
                .filter(|(_, value)| value.len() <= VALUE_LIMIT)
                .map(|(name, value)| format!("{name}={value}"));
            self.rows.push(Row {
                name: stage.stage().to_owned(),
                took,
                note: std::iter::once(stage.status().to_owned())
                    .chain(details)
                    .collect::<Vec<_>>()
                    .join(" "),
            });
            self.last_stage = Some(now);
        } else if line.trim_end().ends_with(os::LAST_WORDS) && self.os_ran.is_none() {
            self.os_ran = Some(now);
            if let Some(last_stage) = self.last_stage {
                self.rows.push(Row {
                    name: "(kernel, OS)".to_owned(),
                    took: Some(now.duration_since(last_stage)),
                    note: "from the handover to the OS's last line, by this host's clock"
                        .to_owned(),
                });
            }
        }
    }

    /// The table, ready to be printed.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(UTF8_BORDERS_ONLY)
            .set_header(["stage", "ms", "what it said"]);
        for row in &self.rows {
            table.add_row([row.name.clone(), milliseconds(row.took), row.note.clone()]);
        }
        let total = self.os_ran.map(|at| at.duration_since(self.power_on));
        table.add_row([
            "total".to_owned(),
            milliseconds(total),
            "from power-on to the OS's last line".to_owned(),
        ]);
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

fn milliseconds(took: Option<Duration>) -> String {
    took.map_or_else(String::new, |took| took.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.1] Linux version\r\n\
        sealboot: stage=prepare status=ok ms=40 modules=5\r\n\
        fetching\r\n\
        sealboot: stage=image status=ok ms=1834 bytes=12 url=https://a/\r\n\
        \r\n\
        the OS in your image runs\r\n";

    /// Feeds `console` in pieces of `size` bytes, 100 ms a line.
    fn follow(console: &str, size: usize) -> Timings {
        let begin = Instant::now();
        let mut timings = Timings::new(begin);
        let mut now = begin;
        for piece in console.as_bytes().chunks(size) {
            if piece.contains(&b'\n') {
                now += Duration::from_millis(100);
            }
            timings.feed(piece, now);
        }
        timings
    }

    #[test]
    fn stages_are_found_however_the_console_is_cut() {
        for size in 1..CONSOLE.len() {
            let timings = follow(CONSOLE, size);
            let names: Vec<&str> = timings.rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(
                names,
                ["(firmware, kernel)", "prepare", "image", "(kernel, OS)"]
            );
            assert!(timings.os_ran());
        }
    }

    #[test]
    fn the_table_has_the_times_of_both_clocks() {
        let table = follow(CONSOLE, 1).table();
        // 200 ms until the first stage line, of which the stage itself took 40.
        for expected in ["160", "40", "1834", "ok bytes=12 url=https://a/", "600"] {
            assert!(table.contains(expected), "{expected} in\n{table}");
        }
    }

    #[test]
    fn an_os_that_only_quotes_the_line_has_not_run() {
        for console in [
            "",
            "the OS in your image runs",
            "echo 'the OS in your image runs'\n",
            "sealboot: stage=load status=ok ms=1\n",
        ] {
            assert!(!follow(console, 7).os_ran(), "{console:?}");
        }
    }
}
