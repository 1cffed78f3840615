//! The log on standard error, and changing how much of it there is and in which form.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Metadata;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The way to a log that runs.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    is_json: Arc<AtomicBool>,
}

impl Log {
    /// Begins to log; once in a process.
    pub(crate) fn start(level: &str, is_json: bool) -> Self {
        let (filter, handle) = reload::Layer::new(EnvFilter::try_new(level).unwrap_or_default());
        let is_json = Arc::new(AtomicBool::new(is_json));
        let is_terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // Both forms are there, each behind a filter of its own: a span belongs to the one that saw it begin.
        let text = fmt::layer().with_target(false).with_writer(io::stderr).with_ansi(is_terminal);
        let json = fmt::layer().json().with_target(false).with_writer(io::stderr);
        tracing_subscriber::registry()
            .with(filter)
            .with(text.with_filter(dynamic_filter_fn(is_form(&is_json, false))))
            .with(json.with_filter(dynamic_filter_fn(is_form(&is_json, true))))
            .init();
        Self { filter: handle, is_json }
    }

    /// Logs so from now on.
    pub(crate) fn set(&self, level: &str, is_json: bool) {
        self.is_json.store(is_json, Ordering::Relaxed);
        let is_news = self.filter.with_current(|filter| filter.to_string() != level).unwrap_or(true);
        if let (true, Ok(filter)) = (is_news, EnvFilter::try_new(level)) {
            // Only a subscriber that is gone cannot be changed.
            let _ = self.filter.reload(filter);
        }
    }
}

/// Whether this is the form that is wanted.
fn is_form<S>(
    is_json: &Arc<AtomicBool>,
    form: bool,
) -> impl Fn(&Metadata<'_>, &Context<'_, S>) -> bool + use<S> {
    let is_json = is_json.clone();
    move |_, _| is_json.load(Ordering::Relaxed) == form
}
