//! Prints the table of variables: for `--help` and for the reference page.

use super::foreign;
use super::names::{ALL, Default, Group, Kind, Unit, Variable};
use std::fmt::Write;

/// Width of wrapped text, columns.
const COLUMNS: usize = 100;

/// What a kind of variable takes, in words, bounds included.
pub fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text(text) => text.to_owned(),
        Kind::Secret => "printable ASCII without blanks".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Count { min, max } => format!("a whole number, {min} to {max}"),
        Kind::Decimal { min, max } => format!("a number, {min} to {max}"),
        Kind::Span { unit, min_ms, max_ms } => {
            let unit = match unit {
                Unit::Seconds => "seconds (60) or a duration (1m30s)",
                Unit::Milliseconds => "milliseconds (500) or a duration (0.5s)",
            };
            format!("{unit}, {} to {}", span(min_ms), span(max_ms))
        }
        Kind::Size { max } => format!("a size (4.2MiB, 512k, bytes), at most {} MiB", max >> 20),
        Kind::Choice([only]) => (*only).to_owned(),
        Kind::Choice(words) => words.join(", "),
    }
}

/// A bound in the largest unit that shows it whole.
fn span(millis: u64) -> String {
    match millis {
        0 => "0".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// What stands after the options in `sluice --help`.
pub fn text() -> String {
    let mut out = String::from(
        "Settings are environment variables; .env in the working directory is read too, and the process environment\n\
         wins over it. Durations: 60s, 1m30s, 250ms, or a bare number.\n",
    );
    for group in Group::ALL {
        let _ = write!(out, "\n{}:\n", group.title());
        for variable in of(group) {
            let _ = writeln!(out, "  {}  [{}]", variable.name, plain(default(variable)));
            let mut words = plain(variable.meaning.to_owned());
            if !variable.aliases.is_empty() {
                let _ = write!(words, " Also: {}.", variable.aliases.join(", "));
            }
            let _ = write!(words, " Takes {}.", kind(variable.kind));
            wrap(&mut out, "      ", &words);
        }
    }
    out
}

/// The reference page.
pub fn markdown() -> String {
    let mut out = String::from(PAGE_HEAD);
    for group in Group::ALL {
        let _ = write!(
            out,
            "\n## {}\n\n| variable | takes | default | meaning |\n|---|---|---|---|\n",
            group.title()
        );
        for variable in of(group) {
            let mut name = format!("`{}`", variable.name);
            for alias in variable.aliases {
                let _ = write!(name, "<br>`{alias}`");
            }
            let row = [name, kind(variable.kind), default(variable), variable.meaning.to_owned()];
            let _ = writeln!(out, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
    }
    out.push_str(FOREIGN_HEAD);
    let names: Vec<String> = foreign::NAMES.iter().map(|name| format!("`{name}`")).collect();
    wrap(&mut out, "", &names.join(", "));
    out
}

const FOREIGN_HEAD: &str = "
## Names of acestream-orchestrator without effect in this version

They are recognised, and one warning at start lists those that are set:

";

const PAGE_HEAD: &str = "\
# Settings

<!-- Printed from src/settings/names.rs; a test compares. Change the table there, then run `make docs`. -->

Every setting is an environment variable. `.env` in the working directory is read too: the process environment wins over
it, quotes and ` # comments` are stripped. Several names in one row mean the same; when more than one is set, the process
environment wins over `.env` and then the topmost name wins, and a warning names the loser. An empty value means \"not
set\", except `API_KEY=`.

- Durations are Go's: `60s`, `1m30s`, `250ms`. A bare number has the unit the row names.
- Sizes are bytes, or carry `k`, `M`, `G` (powers of 1000) or `Ki`, `Mi`, `Gi` (powers of 1024), with or without `B`.
- Booleans are `true` or `false`, in any case. Anything else is refused, `1` and `yes` too.
- While it runs, `POST /settings/variables` changes any of them; the answer says what is needed for it to hold: nothing, another
  process (`DRIVER`, `ACEXY_LISTEN_ADDR`), or a restart (`APP_PORT`, `BIND_ADDR`, `SHARDS`). A change holds until the environment
  says something else than it did then. `DATA_DIR` and `SETTINGS` are changed in the environment only.
- All faults are reported together and the start is refused. Unknown names that start with `ACEXY_` or `SLUICE_`, and
  near misses of any name below, are warned of.
";

fn of(group: Group) -> impl Iterator<Item = &'static Variable> {
    ALL.iter().copied().filter(move |variable| variable.group == group)
}

fn default(variable: &Variable) -> String {
    match variable.default {
        Default::Is(text) => format!("`{text}`"),
        Default::Means(text) => text.to_owned(),
    }
}

/// Markdown's code marks mean nothing on a terminal.
fn plain(text: String) -> String {
    text.replace('`', "")
}

/// Appends words in lines of [`COLUMNS`], each behind `indent`.
fn wrap(out: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column == 0 || column + 1 + width > COLUMNS {
            out.push_str(if column == 0 { "" } else { "\n" });
            out.push_str(indent);
            column = indent.len();
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_variable_and_fits_its_width() {
        let text = text();
        for variable in ALL {
            assert!(variable.spellings().all(|name| text.contains(name)), "{} is missing", variable.name);
        }
        let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 110, "{widest}");
    }

    /// The committed reference page is what the table prints. `SLUICE_TEST_WRITE_DOCS=1` (`make docs`) writes it.
    #[test]
    fn the_reference_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/settings.md");
        if std::env::var_os("SLUICE_TEST_WRITE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/reference/settings.md is not what the table prints: run `make docs`"
        );
    }
}
