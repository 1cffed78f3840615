//! What the packages may depend on.

use crate::{assert_none, read};

/// Names of the packages a manifest depends on, in any kind of dependency section.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // `[dependencies]`, `[target.….dev-dependencies]`, and `[dependencies.name]`.
            let (head, last) = section.rsplit_once('.').unwrap_or(("", section));
            is_inside = last.ends_with("dependencies") && head != "workspace";
            if head.ends_with("dependencies") && !head.starts_with("workspace") {
                names.push(last.to_owned());
            }
        } else if is_inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn assert_names_none(manifest: &str, banned: &[&str]) {
    let dependencies = dependencies(&read(manifest));
    assert!(!dependencies.is_empty(), "{manifest} was not understood");
    let found: Vec<String> =
        dependencies.into_iter().filter(|name| banned.contains(&name.as_str())).collect();
    assert_none(&format!("{manifest} names what its plane must not use"), &found);
}

#[test]
fn dependencies_are_found_however_they_are_written() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\nb.workspace = true\n# c = \"1\"\n[lints]\n\
                    workspace = true\n[dev-dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\n\
                    \"e\" = \"1\"\n[workspace.dependencies]\nf = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a", "b", "d", "e"]);
}

#[test]
fn the_data_plane_knows_no_tokio_and_no_docker() {
    assert_names_none("Cargo.toml", &["tokio", "tokio-util", "hyper", "axum", "tower", "bollard"]);
}

#[test]
fn the_control_plane_knows_no_ring() {
    assert_names_none("control/Cargo.toml", &["monoio", "monoio-http", "monoio-codec", "io-uring", "sluice"]);
}

#[test]
fn the_contract_knows_no_runtime() {
    let banned = [
        "tokio",
        "monoio",
        "monoio-http",
        "io-uring",
        "bollard",
        "hyper",
        "axum",
        "socket2",
        "sluice-control",
    ];
    assert_names_none("control/contract/Cargo.toml", &banned);
}

#[test]
fn the_load_tool_knows_none_of_our_internals() {
    assert_names_none("bench/Cargo.toml", &["sluice", "sluice-control", "sluice-contract", "monoio"]);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let takes = |manifest: &str| read(manifest).replace(' ', "").contains("[lints]\nworkspace=true");
    let manifests = ["Cargo.toml", "control/Cargo.toml", "control/contract/Cargo.toml", "bench/Cargo.toml"];
    let found: Vec<String> =
        manifests.iter().filter(|manifest| !takes(manifest)).map(|m| (*m).to_owned()).collect();
    assert_none("unsafe code is denied by the lints of the workspace, which these do not take", &found);
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
}

#[test]
fn every_package_comes_from_the_public_registry() {
    let lock = read("Cargo.lock");
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let strange =
        sources.filter(|source| *source != "\"registry+https://github.com/rust-lang/crates.io-index\"");
    assert_none("Cargo.lock has packages from elsewhere", &strange.map(str::to_owned).collect::<Vec<_>>());
}

/// Guards: the panel's packages come from wherever npm is told to look, and from nowhere a lock file says.
#[test]
fn the_panels_lock_file_names_no_other_registry() {
    let lock = read("dashboard/package-lock.json");
    assert!(lock.contains("\"lockfileVersion\""), "the lock file was not understood");
    let strange = lock
        .lines()
        .filter(|line| line.contains("\"resolved\"") && !line.contains("\"https://registry.npmjs.org/"));
    assert_none(
        "package-lock.json has packages from elsewhere",
        &strange.map(str::to_owned).collect::<Vec<_>>(),
    );
}

/// Clippy takes the nearest `.clippy.toml`; what each plane must not call stands there, and these are the bans that
/// must not get lost.
#[test]
fn every_plane_bans_what_would_block_it() {
    let mut missing = Vec::new();
    for (file, bans) in [
        (
            ".clippy.toml",
            ["std::thread::sleep", "std::sync::Mutex", "monoio::net::TcpListener::accept"].as_slice(),
        ),
        ("control/.clippy.toml", &["std::thread::sleep", "tokio::sync::mpsc::unbounded_channel"]),
        ("control/contract/.clippy.toml", &["std::time::Instant::now", "std::net::TcpStream"]),
        ("bench/.clippy.toml", &["tokio::sync::mpsc::unbounded_channel"]),
    ] {
        let text = read(file);
        let lost = bans.iter().filter(|ban| !text.contains(&format!("\"{ban}\"")));
        missing.extend(lost.map(|ban| format!("{file} no longer bans {ban}")));
    }
    assert_none("a ban got lost", &missing);
}
