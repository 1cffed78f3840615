//! What a stock Prometheus and Grafana make of the appliance: the scrape parses, and every query of the dashboard and the alerts
//! of the documents finds what it asks for.

use crate::common::{Appliance, Setup, eventually, until};
use crate::stage::plays;
use serde_json::Value;
use sluice_bench::channel::nth;
use sluice_bench::player::http;
use std::collections::HashSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const DASHBOARD: &str = "docs/grafana/sluice.json";
const RULES: &str = "docs/prometheus/sluice.rules.yml";
/// Names of earlier programs that are kept as they were; promtool would have them without abbreviations.
const KEPT: [&str; 2] = ["orch_total_downloaded_mb", "orch_total_uploaded_mb"];
/// Metrics that are there only where engines are kept in Docker.
const OF_DOCKER: [&str; 2] = ["sluice_fleet_engines", "sluice_docker_up"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A Prometheus that scrapes an appliance every second; ended when dropped.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
}

impl Prometheus {
    fn start(appliance: &Appliance) -> Self {
        let directory = appliance.data().join("prometheus");
        std::fs::create_dir_all(&directory).expect("a directory");
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  \
             - job_name: sluice\n    static_configs: [{{targets: ['{}']}}]\n",
            root(RULES).display(),
            appliance.addr()
        );
        std::fs::write(&config, text).expect("the settings are written");
        // It cannot be told to take a port of the kernel's choice and say which.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|it| it.local_addr())
            .expect("a port")
            .port();
        let addr = (Ipv4Addr::LOCALHOST, port).into();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is there: make test installs it");
        Self { child, addr }
    }

    /// The answer to a query: how many series it finds, or why it cannot be evaluated.
    fn query(&self, query: &str) -> Result<usize, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http::get(self.addr, &format!("/api/v1/query?query={encoded}"))
            .map_err(|error| error.to_string())?;
        let answer = answer.json().map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(found) => Ok(found.len()),
            None => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every `expr` of the dashboard, with its variables filled in.
fn of_dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| collect(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(root(DASHBOARD)).expect("the dashboard");
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).expect("JSON"), &mut found);
    found.iter().map(|expr| expr.replace("$__rate_interval", "1m").replace("$job", "sluice")).collect()
}

/// Every `expr` of the alerts.
fn of_alerts() -> Vec<String> {
    let text = std::fs::read_to_string(root(RULES)).expect("the rules");
    text.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)).collect()
}

/// Names of metrics in a query.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| {
        ["sluice_", "process_", "proxy_", "orch_"].iter().any(|prefix| word.starts_with(prefix))
    })
}

/// Guards: a scrape of the demo parses for promtool, which has nothing to say of any name but the two that are kept as they
/// were; the rules are what Prometheus takes.
#[test]
fn a_scrape_parses() {
    let appliance = Setup::bare().arg("--demo").start();
    plays(&appliance.player(nth(0).0).start());
    let scrape = appliance.get("/metrics").text();
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool is there: make test installs it");
    check.stdin.take().expect("a pipe").write_all(scrape.as_bytes()).expect("it reads");
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let complaints: Vec<&str> =
        said.lines().filter(|line| !KEPT.iter().any(|kept| line.starts_with(kept))).collect();
    assert_eq!(complaints, [] as [&str; 0], "{}", output.status);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", output.status);
    let rules = Command::new("promtool").args(["check", "rules"]).arg(root(RULES)).output().expect("it runs");
    assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
}

/// Guards: Prometheus evaluates every query of the dashboard to something while the demo plays, and every alert; each metric
/// an alert names is there.
#[test]
fn every_query_finds_what_it_asks_for() {
    let appliance = Setup::bare().arg("--demo").start();
    let player = appliance.player(nth(0).0).start();
    plays(&player);
    let prometheus = Prometheus::start(&appliance);
    until("it has scraped a few times", || {
        prometheus.query("count_over_time(up{job=\"sluice\"}[1m]) >= 3 and up == 1") == Ok(1)
    });
    let (panels, alerts) = (of_dashboard(), of_alerts());
    assert!(panels.len() > 20 && alerts.len() > 5, "{} queries, {} alerts", panels.len(), alerts.len());
    for query in &panels {
        let found = eventually("an answer", || {
            prometheus.query(query).map_or_else(|error| panic!("{query}: {error}"), Some)
        });
        assert!(found > 0, "{query} finds nothing");
    }
    let scraped = appliance.get("/metrics").text();
    let there: HashSet<&str> = scraped.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for query in &alerts {
        prometheus.query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let absent: Vec<&str> =
            names(query).filter(|name| !there.contains(name) && !OF_DOCKER.contains(name)).collect();
        assert_eq!(absent, [] as [&str; 0], "{query}");
    }
    // Nothing is wrong with the demo.
    assert_eq!(prometheus.query("ALERTS{alertstate=\"firing\"}"), Ok(0));
}
