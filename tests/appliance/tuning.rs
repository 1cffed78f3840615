//! Host settings in a network namespace: broken, told by the doctor, and put right by what the pages of `tuning/` say.

use crate::common::Setup;
use std::path::Path;
use std::process::Command;

/// What is asked of the doctor in the script, between marks.
const LOOK: &str = "\"$SLUICE\" doctor --host; echo \"exit $?\"; echo ---";

/// The first shell block of a section of a page, with the port filled in.
fn commands(page: &str, section: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(format!("{page}.md"));
    let text = std::fs::read_to_string(path).expect("the page is there");
    let (_, rest) = text.split_once(&format!("**{section}.**")).expect("the section is there");
    let (_, block) = rest.split_once("```sh\n").expect("it has commands");
    block.split("```").next().expect("they end").replace("{port}", "8000")
}

/// Runs a script in a network namespace of its own; answers what each look found, or `None` where that cannot be had.
fn looks(script: &str) -> Option<Vec<String>> {
    let setup = Setup::bare().env("APP_PORT", "8000").into_command();
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).env("SLUICE", setup.get_program());
    command.envs(setup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().ok()?;
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() && text.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "no network namespace: {said}");
        eprintln!("skipped: no network namespace here: {said}");
        return None;
    }
    Some(text.split("---\n").filter(|look| !look.trim().is_empty()).map(str::to_owned).collect())
}

/// What the doctor says of a setting, and what it exits with.
fn told(look: &str, name: &str) -> (String, u8) {
    let line = look.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
    let state = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let code = look.lines().find_map(|line| line.strip_prefix("exit ")?.parse().ok());
    (state.to_owned(), code.unwrap_or_else(|| panic!("the doctor did not end: {look}")))
}

/// Guards: each setting of a network that is off is told with the remedy of its page, is well once what the page says was done, and is
/// off again once that was undone.
#[test]
fn what_is_off_is_told_and_put_right_by_its_page() {
    let pages = ["somaxconn", "tcp_notsent_lowat", "slow_start"];
    let mut script = String::from("exec 2>/dev/null\n");
    for page in pages {
        let (apply, undo) = (commands(page, "Apply"), commands(page, "Undo"));
        script.push_str(&format!("{undo}\n{LOOK}\n{apply}\n{LOOK}\n"));
    }
    let Some(looks) = looks(&script) else { return };
    assert_eq!(looks.len(), 2 * pages.len(), "{looks:?}");
    for (page, pair) in pages.iter().zip(looks.chunks(2)) {
        assert_eq!(told(&pair[0], page).0, "note", "{page}: {}", pair[0]);
        assert!((20..=37).contains(&told(&pair[0], page).1), "{}", pair[0]);
        let remedy = format!("-> {}", commands(page, "Apply").trim());
        assert!(pair[0].contains(&remedy), "{page}: {}", pair[0]);
        assert_eq!(told(&pair[1], page).0, "ok", "{page}: {}", pair[1]);
    }
}

/// Guards: a send buffer and a limit of open files that are too small are told, and what the pages say mends the one.
#[test]
fn small_buffers_and_limits_are_told() {
    let (apply, fewer) = (commands("tcp_wmem", "Apply"), commands("nofile", "Undo"));
    let small = "sysctl -w net.ipv4.tcp_wmem='4096 16384 65536'";
    let script = format!("exec 2>/dev/null\n{small}\n{LOOK}\n{apply}\n{LOOK}\n{fewer}\n{LOOK}\n");
    let Some(looks) = looks(&script) else { return };
    let [small, mended, few] = &looks[..] else { panic!("{looks:?}") };
    assert_eq!((told(small, "tcp_wmem").0, told(mended, "tcp_wmem").0), ("note".to_owned(), "ok".to_owned()));
    assert_eq!(told(few, "nofile"), ("note".to_owned(), 20));
}

/// Guards: where connections are tracked, the port that is left out of it is found by its rule.
#[test]
fn a_port_that_is_not_tracked_is_found() {
    let tracked = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    let is_small = tracked.is_ok_and(|max| max.trim().parse::<u64>().is_ok_and(|max| max < 1 << 20));
    if !is_small {
        eprintln!("skipped: nothing is tracked here, or the table is large");
        return;
    }
    let (apply, undo) = (commands("conntrack", "Apply"), commands("conntrack", "Undo"));
    let script = format!("exec 2>/dev/null\n{LOOK}\n{apply}\n{LOOK}\n{undo}\n{LOOK}\n");
    let Some(looks) = looks(&script) else { return };
    let states: Vec<String> = looks.iter().map(|look| told(look, "conntrack").0).collect();
    assert_eq!(states, ["note", "ok", "note"], "{looks:?}");
}
