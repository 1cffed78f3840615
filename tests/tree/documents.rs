//! That documents name what exists.

use crate::{assert_none, files, read, root};
use sluice_contract::{EndReason, MoveReason, RefusalCode};
use std::collections::BTreeSet;
use std::path::Path;

/// Targets of the inline links of a page, outside of code.
fn links(page: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second piece between back quotes is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.map(str::to_owned));
    }
    found
}

#[test]
fn no_page_links_to_what_is_not_there() {
    let mut dead = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        for link in links(&file.text) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let directory = Path::new(&file.path).parent().unwrap_or(Path::new(""));
            if !root().join(directory).join(target).exists() {
                dead.push(format!("{} links to {link}", file.path));
            }
        }
    }
    assert_none("dead links", &dead);
}

#[test]
fn links_are_found_in_prose_only() {
    let page = "[a](b.md) and `[c](d)` ![e](f.png#x)\n```\n[g](h)\n```\n[i](https://j)";
    assert_eq!(links(page), ["b.md", "f.png#x", "https://j"]);
}

/// The first cells of a section's table, which are names in code marks.
fn first_cells(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("there is no section {heading}"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn the_error_reference_has_every_refusal_end_and_move() {
    let page = read("docs/reference/errors.md");
    let refusals: BTreeSet<String> = RefusalCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    let ends: BTreeSet<String> = EndReason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(first_cells(&page, "Refusals"), refusals);
    assert_eq!(first_cells(&page, "Ends"), ends);
    let moves: BTreeSet<String> = MoveReason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(first_cells(&page, "Moves"), moves);
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut numbers: Vec<usize> = files()
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/decisions/")?.split('-').next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}
