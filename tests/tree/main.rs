//! Guards the tree itself: the walls between planes and rooms, what may be unsafe, and that documents tell the truth.
//!
//! These tests read manifests, sources and documents as text and start nothing. They hold what the compiler and clippy
//! cannot: that a room keeps to itself, and that a page names every refusal there is.

mod documents;
mod hygiene;
mod manifests;
mod rooms;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what was built, fetched or recorded, not what was written.
const NOT_WRITTEN: [&str; 7] = [".git", "target", "node_modules", "dist", "data", "fuzz-out", "corpus"];

/// One text file of the tree.
struct File {
    /// Path relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn is_under(&self, directory: &str) -> bool {
        self.path.starts_with(directory)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every UTF-8 file somebody wrote; binary files are left out.
fn files() -> Vec<File> {
    fn walk(directory: &Path, root: &Path, found: &mut Vec<File>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !NOT_WRITTEN.iter().any(|skipped| name == *skipped) {
                walk(&path, root, found);
            } else if kind.is_file()
                && name != ".git"
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(File { path, text });
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    assert!(found.len() > 20, "the tree was not found");
    found
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Fails with every finding, so that one run shows all there is to mend.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
