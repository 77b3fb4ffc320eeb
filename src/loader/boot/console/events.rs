//! Events of the stages, printed between their lines.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Consoles;
use sealboot_core::format::Invalid;
use sealboot_core::format::cmdline::Parameters;

/// Prints events from now on: `info` and above, or what `sealboot.log=` asks for.
pub(in crate::boot) fn print_events(cmdline: &Parameters, consoles: &'static Consoles) {
    let asked = cmdline.last("sealboot.log").map(level);
    let level = match asked {
        Some(Ok(level)) => level,
        Some(Err(_)) | None => Level::INFO,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(Line)
        .with_writer(move || consoles)
        .init();
    if let Some(Err(why)) = asked {
        tracing::warn!("{why}");
    }
}

fn level(text: &str) -> Result<Level, Invalid> {
    text.parse().map_err(|_| {
        Invalid::new(
            "sealboot.log",
            text,
            "error, warn, info, debug or trace, so it is info",
        )
    })
}

/// `sealboot: message field=value`, with the level before it where it is not `info`.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Libraries talk at `debug` and below only, and say who they are.
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error: ".to_owned(),
            Level::WARN => "warning: ".to_owned(),
            Level::INFO => String::new(),
            _ => format!("{}: ", metadata.target()),
        };
        let mut text = Text::default();
        event.record(&mut text);
        writeln!(out, "sealboot: {level}{}{}", text.message, text.fields)
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_exist_is_told_of_with_those_that_do() {
        assert_eq!(level("debug"), Ok(Level::DEBUG));
        for bad in ["loud", "", "6", "warning", "debug,h2=trace"] {
            let why = level(bad).unwrap_err().to_string();
            assert_eq!(
                why,
                format!(
                    "sealboot.log: \"{bad}\" is not error, warn, info, debug or trace, so it is info"
                )
            );
        }
    }
}
