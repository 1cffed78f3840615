//! Metrics that each engine has: thousands of lines where there are many engines, so they are written once for each way engines
//! stand and not once for each scrape.

use crate::engines::health::State;
use crate::engines::plan::Standing;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines of every engine, as they were written last.
#[derive(Default)]
pub(super) struct Each(Mutex<Option<(Arc<Standing>, Arc<str>)>>);

impl Each {
    /// The lines. They are the same in both formats: none is a counter.
    pub(super) fn text(&self, standing: &Arc<Standing>) -> Arc<str> {
        // A panic cannot leave a text half made.
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, text)) = &*written
            && Arc::ptr_eq(of, standing)
        {
            return text.clone();
        }
        let text: Arc<str> = write(standing).into();
        *written = Some((standing.clone(), text.clone()));
        text
    }
}

fn write(standing: &Standing) -> String {
    /// What the lines of an engine take, about.
    const ENGINE_BYTES: usize = 512;
    let mut text = String::with_capacity(1024 + standing.engines.len() * ENGINE_BYTES);
    let names: Vec<String> = standing.engines.iter().map(|engine| escaped(&engine.id.0)).collect();
    let engines = || names.iter().zip(&standing.engines);
    head(&mut text, "sluice_engine_leases", "Leases out, by engine");
    for (name, engine) in engines() {
        line(&mut text, "sluice_engine_leases", name, engine.leases);
    }
    head(&mut text, "sluice_engine_starts", "Stream starts in flight, by engine");
    for (name, engine) in engines() {
        line(&mut text, "sluice_engine_starts", name, engine.starts);
    }
    head(&mut text, "sluice_engine_health", "1 for the state an engine is in, 0 for the others");
    for (name, engine) in engines() {
        for state in State::ALL {
            let is_so = u8::from(state == engine.state);
            put(&mut text, &["sluice_engine_health{engine=\"", name, "\",state=\"", state.as_str(), "\"} "]);
            end(&mut text, is_so.into());
        }
    }
    head(&mut text, "sluice_engine_silent_leases", "Leases whose source is silent, by engine");
    for (name, engine) in engines() {
        line(&mut text, "sluice_engine_silent_leases", name, engine.silent);
    }
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    put(text, &["# HELP ", name, " ", help, ".\n# TYPE ", name, " gauge\n"]);
}

fn line(text: &mut String, name: &str, engine: &str, value: usize) {
    put(text, &[name, "{engine=\"", engine, "\"} "]);
    end(text, value);
}

fn end(text: &mut String, value: usize) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{value}.0");
}

fn put(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

/// The value of a label, as both formats want it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::EngineStanding;

    fn engine(id: &str, leases: usize) -> EngineStanding {
        EngineStanding { leases, silent: 1, ..EngineStanding::named(id, State::Healthy) }
    }

    /// Guards: every engine has every line, whatever it is called, and the text is made anew when engines stand otherwise and
    /// only then.
    #[test]
    fn engines_are_written_once_for_each_standing() {
        let each = Each::default();
        let standing =
            |leases| Arc::new(Standing { engines: vec![engine("a\"\\b", leases)], ..Standing::default() });
        let first = standing(2);
        let text = each.text(&first);
        for line in [
            "# HELP sluice_engine_leases Leases out, by engine.\n# TYPE sluice_engine_leases gauge\n",
            "sluice_engine_leases{engine=\"a\\\"\\\\b\"} 2.0\n",
            "sluice_engine_health{engine=\"a\\\"\\\\b\",state=\"healthy\"} 1.0\n",
            "sluice_engine_health{engine=\"a\\\"\\\\b\",state=\"down\"} 0.0\n",
            "sluice_engine_silent_leases{engine=\"a\\\"\\\\b\"} 1.0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(Arc::ptr_eq(&text, &each.text(&first)));
        assert!(each.text(&standing(3)).contains("} 3.0\n"));
    }
}
