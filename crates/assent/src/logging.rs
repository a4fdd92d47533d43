//! The log: lines for people, or JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// Libraries that at `debug` and `trace` log what passes through them, headers with tokens among it. They are kept at `info`
/// unless they are named.
const LIBRARIES: [&str; 9] =
    ["h2", "hyper", "hyper_util", "tower", "tonic", "rustls", "tokio_rustls", "reqwest", "bdk_wallet"];

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, coloured on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging to standard error. What is logged without `ASSENT_LOG` is up to `level`.
///
/// # Errors
/// Where `ASSENT_LOG` cannot be read.
pub fn start(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("ASSENT_LOG") {
        Ok(text) if !text.is_empty() => {
            let mut filter = EnvFilter::try_new(&text).map_err(|error| {
                anyhow::anyhow!("ASSENT_LOG: {error}; expected something like info or debug")
            })?;
            for library in LIBRARIES.iter().filter(|library| !text.contains(**library)) {
                filter = filter.add_directive(format!("{library}=info").parse()?);
            }
            filter
        }
        _ => EnvFilter::new(level),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init()
        }
    }
    Ok(())
}
