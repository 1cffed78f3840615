//! From OpenMetrics to the older Prometheus text format.
//!
//! The samples are the same; only there a counter's `HELP` and `TYPE` lines carry the `_total` that its samples have,
//! and there is no end marker.

/// Rewrites an exposition, with room for so many bytes more.
pub(crate) fn classic(openmetrics: &str, room: usize) -> String {
    let mut classic = String::with_capacity(openmetrics.len() + openmetrics.len() / 16 + room);
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            // Whether the name needs the suffix is known with the next line.
            help = Some((name, text));
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(named, _)| *named == name) {
                classic.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            classic.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            continue;
        }
        classic.push_str(line);
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_and_the_rest_is_kept() {
        let openmetrics = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n\
            # HELP c Other.\n# TYPE c gauge\nc 2.5\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n\
            # HELP c Other.\n# TYPE c gauge\nc 2.5\n";
        assert_eq!(classic(openmetrics, 0), expected);
    }
}
