//! One page for one run, with everything in it: no script, no style sheet and no picture from elsewhere. Pure.

use std::fmt::Write;

use serde_json::Value;

use super::outcome::{Figure, Outcome, Plot};

/// Size of a drawing, and what is left for its words.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Colours of lines, told apart by most eyes.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Distributions and points of a line that are drawn.
const DISTRIBUTIONS_MAX: usize = 40;
const POINTS_MAX: usize = 4000;
/// Points of a line that are marked one by one.
const MARKED_MAX: usize = 60;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:right;padding:.2rem .6rem;border-bottom:1px solid #d8dde3}td:first-child,th:first-child{text-align:left}\
td{font-variant-numeric:tabular-nums}code,pre{font:13px/1.5 ui-monospace,monospace}pre{overflow:auto;padding:.8rem;background:#f3f5f7}\
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#4a535e}.axis{stroke:#8a939e}.grid{stroke:#e3e7eb}\
.bad{color:#b3261e}@media(prefers-color-scheme:dark){body{color:#e3e7eb;background:#14181d}pre{background:#1d232a}td,th{border-color:#39424c}\
svg text{fill:#aab4bf}.grid{stroke:#2b333c}.bad{color:#ff8a80}}";

/// The page.
pub fn page(outcome: &Outcome, table: &str) -> String {
    let mut page = String::new();
    // Writing to a text cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p>{1}{2}; ended at {3} s since 1970",
        escaped(&outcome.command),
        escaped(&outcome.machine.to_string()),
        outcome.driver.as_ref().map(|driver| format!(", driver {}", escaped(driver))).unwrap_or_default(),
        outcome.ended_at
    );
    for fault in outcome.faults.iter().chain(&outcome.exceeded) {
        let _ = write!(page, "<p class=bad>{}", escaped(fault));
    }
    let _ = write!(page, "<h2>Result</h2><pre>{}</pre>", escaped(table));
    for plot in &outcome.plots {
        let _ = write!(page, "<h2>{}</h2>{}", escaped(&plot.title), lines(plot));
    }
    let mut found = Vec::new();
    distributions(&outcome.result, String::new(), &mut found);
    if !found.is_empty() {
        let _ = write!(page, "<h2>Times</h2>{}", spans(&found));
    }
    page.push_str("<h2>Figures</h2><table><tr><th>figure<th>values<th>least<th>median<th>most");
    for (name, Figure { count, min, median, max }) in &outcome.figures {
        let [min, median, max] = [min, median, max].map(|value| number(*value));
        let _ =
            write!(page, "<tr><td><code>{}</code><td>{count}<td>{min}<td>{median}<td>{max}", escaped(name));
    }
    page.push_str("</table></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Four digits, or as many as a whole number has.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let digits = (3.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}")
}

/// A scale whose steps are 1, 2 or 5 times a power of ten.
fn steps(min: f64, max: f64) -> Vec<f64> {
    let span = (max - min).max(f64::MIN_POSITIVE);
    let power = 10f64.powf((span / 5.0).log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|it| it * power).into_iter().find(|it| span / it <= 6.0).unwrap_or(span);
    (0..=7)
        .map(|n| ((min / step).ceil() + f64::from(n)) * step)
        .take_while(|at| *at <= max * 1.0001)
        .collect()
}

/// One plot as a file of its own.
pub fn drawing(plot: &Plot) -> String {
    const STYLE: &str = "<style>svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#4a535e}.grid{stroke:#e3e7eb}</style>";
    let drawn = lines(plot);
    let head = drawn.find('>').map_or(0, |end| end + 1);
    format!("{}{STYLE}{}\n", &drawn[..head], &drawn[head..])
}

/// Lines over a common axis, from zero upwards.
fn lines(plot: &Plot) -> String {
    let is_finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let finite = || plot.lines.iter().flat_map(|(_, points)| points).filter(is_finite);
    let least = |of: fn(&(f64, f64)) -> f64| finite().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| finite().map(of).fold(f64::NEG_INFINITY, f64::max);
    if finite().next().is_none() {
        let middle = HEIGHT / 2.0;
        return format!(
            "{}<text x=\"{LEFT}\" y=\"{middle}\">nothing to draw</text></svg>",
            open(&plot.title, HEIGHT)
        );
    }
    let (left, right) = (least(|it| it.0), most(|it| it.0));
    let (low, high) = (least(|it| it.1).min(0.0), most(|it| it.1).max(1e-9));
    let wide = (right - left).max(1e-9);
    let x = |value: f64| LEFT + (value - left) / wide * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(&plot.title, HEIGHT);
    for at in steps(low, high) {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\" /><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            WIDTH - RIGHT,
            y(at),
            LEFT - 6.0,
            y(at) + 4.0,
            number(at)
        );
    }
    for at in steps(left, right) {
        let below = HEIGHT - BOTTOM + 16.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
            x(at),
            number(at)
        );
    }
    for (place, (name, points)) in plot.lines.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let drawn: Vec<&(f64, f64)> = points.iter().filter(is_finite).take(POINTS_MAX).collect();
        let path: Vec<String> =
            drawn.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\" />",
            path.join(" ")
        );
        for (at, value) in drawn.iter().filter(|_| drawn.len() <= MARKED_MAX) {
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {} at {}</title></circle>",
                x(*at),
                y(*value),
                escaped(name),
                number(*value),
                number(*at)
            );
        }
        let legend = LEFT + 8.0 + 130.0 * place as f64;
        let _ = write!(
            svg,
            "<text x=\"{legend}\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>",
            TOP - 3.0,
            escaped(name)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"4\" y=\"{:.1}\" transform=\"rotate(-90 12 {3:.1})\">{}</text></svg>",
        WIDTH - RIGHT,
        HEIGHT - 8.0,
        escaped(&plot.across),
        HEIGHT / 2.0 + 40.0,
        escaped(&plot.up)
    );
    svg
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\"><title>{}</title>",
        escaped(title)
    )
}

/// A distribution with its name, in milliseconds: p50, p99, p99.9 and the longest.
type Span = (String, [f64; 4]);

/// Everything in a result that is a distribution.
fn distributions(value: &Value, way: String, found: &mut Vec<Span>) {
    let quantiles = ["p50_ms", "p99_ms", "p999_ms", "max_ms"].map(|name| value.get(name)?.as_f64());
    if let [Some(a), Some(b), Some(c), Some(d)] = quantiles {
        if found.len() < DISTRIBUTIONS_MAX {
            found.push((way, [a, b, c, d]));
        }
        return;
    }
    let join = |step: &str| if way.is_empty() { step.to_owned() } else { format!("{way} {step}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| distributions(value, join(name), found));
        }
        Value::Array(elements) => {
            for (place, element) in elements.iter().enumerate() {
                let named = element.get("route").or(element.get("name")).and_then(Value::as_str);
                let step = named.map_or_else(|| (place + 1).to_string(), str::to_owned);
                distributions(element, join(&step), found);
            }
        }
        _ => {}
    }
}

/// Distributions below each other over a logarithmic axis.
fn spans(found: &[Span]) -> String {
    const ROW: f64 = 22.0;
    const NAMES: f64 = 280.0;
    let floor = |value: f64| value.max(0.01);
    let low = found.iter().map(|(_, it)| floor(it[0])).fold(f64::INFINITY, f64::min).log10().floor();
    let high = found.iter().map(|(_, it)| floor(it[3])).fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    let x = |value: f64| NAMES + (floor(value).log10() - low) / (high - low) * (WIDTH - NAMES - RIGHT);
    let height = TOP + ROW * found.len() as f64 + BOTTOM;
    let mut svg = open("times in milliseconds", height);
    for power in low as i32..=high as i32 {
        let at = 10f64.powi(power);
        let _ = write!(
            svg,
            "<line class=grid x1={0:.1} x2={0:.1} y1={TOP} y2={1:.1} /><text x={0:.1} y={2:.1} text-anchor=middle>{3} ms</text>",
            x(at),
            height - BOTTOM,
            height - BOTTOM + 16.0,
            number(at)
        );
    }
    for (place, (name, [p50, p99, p999, max])) in found.iter().enumerate() {
        let y = TOP + ROW * (place as f64 + 0.5);
        let _ = write!(
            svg,
            "<text x={0:.1} y={1:.1} text-anchor=end>{2}</text><line class=axis x1={3:.1} x2={4:.1} y1={y:.1} y2={y:.1} />",
            NAMES - 8.0,
            y + 4.0,
            escaped(name),
            x(*p50),
            x(*max)
        );
        let marks = [("p50", p50, 0), ("p99", p99, 2), ("p99.9", p999, 4), ("longest", max, 1)];
        for (mark, value, colour) in marks {
            let _ = write!(
                svg,
                "<circle cx={:.1} cy={y:.1} r=4 fill=\"{}\"><title>{mark} {} ms</title></circle>",
                x(*value),
                COLOURS[colour],
                number(*value)
            );
        }
    }
    for (place, (mark, colour)) in [("p50", 0), ("p99", 2), ("p99.9", 4), ("longest", 1)].iter().enumerate() {
        let _ = write!(
            svg,
            "<text x={:.1} y={:.1} style=\"fill:{}\">● {mark}</text>",
            NAMES + 80.0 * place as f64,
            height - 6.0,
            COLOURS[*colour]
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::outcome::figures;
    use super::*;
    use crate::report::Machine;

    fn outcome() -> Outcome {
        let result =
            json!({ "gap": { "count": 9, "p50_ms": 1.0, "p99_ms": 9.5, "p999_ms": 20.0, "max_ms": 300.0 } });
        Outcome {
            command: "sluice-bench play --url <x>".to_owned(),
            machine: Machine::here(),
            driver: Some("io_uring".to_owned()),
            ended_at: 1,
            faults: vec!["1 gone: a & b".to_owned()],
            exceeded: Vec::new(),
            figures: figures(&result),
            plots: vec![Plot {
                title: "Rate".to_owned(),
                across: "s".to_owned(),
                up: "Gbit/s".to_owned(),
                lines: vec![("all".to_owned(), vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)])],
            }],
            result,
        }
    }

    /// Guards: the page holds everything itself, tells command, machine and driver, draws the plots and the distributions, and takes nothing in
    /// that could be markup.
    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&outcome(), "a < b");
        for part in
            ["play --url &lt;x&gt;", "driver io_uring", "a &amp; b", "a &lt; b", "<polyline", "p99 9.500 ms"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        for part in ["http", "src=", "href=", "@import", "url(", "<script", "NaN", "inf"] {
            assert!(!addresses.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    /// Guards: a drawing alone is XML: every attribute is quoted, everything is closed, and it brings its style.
    #[test]
    fn a_drawing_stands_alone() {
        for plot in [outcome().plots.remove(0), Plot::default()] {
            let drawing = drawing(&plot);
            assert!(drawing.starts_with("<svg xmlns=") && drawing.contains("<style>"), "{drawing}");
            assert!(
                drawing.match_indices('=').all(|(at, _)| drawing[at + 1..].starts_with('"')),
                "{drawing}"
            );
            let tags = drawing.matches('<').count() - drawing.matches("/>").count();
            assert_eq!(tags, 2 * drawing.matches("</").count(), "{drawing}");
        }
    }

    /// Guards: nothing to draw, and one point alone, are drawn without a number that is none.
    #[test]
    fn few_points_are_no_fault() {
        let mut outcome = outcome();
        outcome.plots = vec![
            Plot::default(),
            Plot { lines: vec![("one".to_owned(), vec![(5.0, 0.0)])], ..Plot::default() },
        ];
        let page = page(&outcome, "");
        assert!(
            page.contains("nothing to draw") && !page.contains("NaN") && !page.contains("inf\""),
            "{page}"
        );
        assert_eq!(steps(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!([0.0, 12.0, 0.0125, 1234.6].map(number), ["0", "12", "0.01250", "1235"]);
    }
}
