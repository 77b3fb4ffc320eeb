//! Events of the stages, printed between their lines.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::consoles::Consoles;
use crate::format::cmdline::Parameters;

/// Prints events from now on: `info` and above, or what `sealboot.log=` asks for.
pub(super) fn print_events(cmdline: &Parameters) {
    let level = cmdline
        .last("sealboot.log")
        .and_then(|level| level.parse().ok())
        .unwrap_or(Level::INFO);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(Line)
        .with_writer(|| Consoles)
        .init();
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
