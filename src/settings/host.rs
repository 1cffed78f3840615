//! What this host (or container) offers: cores, memory, descriptors. Read once from `/proc` and the cgroup files.
//!
//! Everything is read below an injected root, so that tests can lay out the hosts they mean. A file that is missing or
//! unreadable means "no limit there", never a fault: the values only choose defaults.

use std::fs;
use std::path::{Path, PathBuf};

/// More descriptors than this are never asked for: eight thousand players take nine thousand, and tables that grow
/// with the limit cost memory on hosts where the limit is a billion.
pub const DESCRIPTORS_MAX: u64 = 1 << 20;

/// Facts of the host that choose defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Cores this process may use, at least 1.
    pub cores: u16,
    /// Bytes this process may use: the smallest of physical memory and the limits of its cgroups. `None`: unknown.
    pub memory_bytes: Option<u64>,
    /// Hard limit of open files, at most [`DESCRIPTORS_MAX`]. `None`: unknown.
    pub descriptors: Option<u64>,
}

impl Host {
    /// Reads the facts below `root`, which is `/` outside tests.
    pub fn probe(root: &Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self {
            cores: u16::try_from(cores).unwrap_or(u16::MAX),
            memory_bytes: memory_bytes(root),
            descriptors: descriptors(root),
        }
    }
}

/// The smallest of `MemTotal`, the cgroup v2 limits (own group and its ancestors) and the cgroup v1 limit.
fn memory_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let cgroup = root.join("sys/fs/cgroup");
    let mut limits: Vec<u64> = physical_bytes(root).into_iter().collect();
    // A process in a cgroup namespace sees its own group as the root, one without sees the host's path, which may
    // not be mounted: so the whole chain is tried, and the mount itself always.
    for (mount, group, files) in [
        (cgroup.clone(), group_of(&groups, ""), ["memory.max", "memory.high"].as_slice()),
        (cgroup.join("unified"), group_of(&groups, ""), ["memory.max", "memory.high"].as_slice()),
        (cgroup.join("memory"), group_of(&groups, "memory"), ["memory.limit_in_bytes"].as_slice()),
    ] {
        for directory in chain(&mount, group) {
            limits.extend(files.iter().filter_map(|file| number(&directory.join(file))));
        }
    }
    limits.into_iter().filter(|limit| *limit > 0).min()
}

/// The path of the group in the hierarchy of `controller`; the v2 hierarchy has none.
fn group_of<'a>(groups: &'a str, controller: &str) -> &'a str {
    groups
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .find(|(controllers, _)| controllers.split(',').any(|name| name == controller))
        .map_or("", |(_, path)| path.trim_start_matches('/'))
}

/// The mount and every directory from it down to the group.
fn chain(mount: &Path, group: &str) -> Vec<PathBuf> {
    let mut directories = vec![mount.to_owned()];
    for part in group.split('/').filter(|part| !part.is_empty()) {
        // Outside of its namespace's root a group is shown as `/../x`, which names nothing below the mount.
        if part == ".." {
            return vec![mount.to_owned()];
        }
        directories.push(directories[directories.len() - 1].join(part));
    }
    directories
}

/// A file that holds one number; `max` is no limit.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn physical_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn descriptors(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let limits = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let hard = limits.split_whitespace().nth(1)?;
    if hard == "unlimited" {
        Some(DESCRIPTORS_MAX)
    } else {
        hard.parse::<u64>().ok().map(|n| n.min(DESCRIPTORS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up root directory, gone when dropped.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("sluice-host-{}-{name}", std::process::id()));
            for (file, text) in files {
                let file = path.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
    const GIB: u64 = 1 << 30;

    #[test]
    fn without_a_limit_the_physical_memory_counts() {
        let root = Root::new(
            "plain",
            &[MEMINFO, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")],
        );
        assert_eq!(memory_bytes(&root.0), Some(8 * GIB));
    }

    #[test]
    fn the_smallest_limit_of_the_v2_chain_counts() {
        let root = Root::new(
            "v2",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "268435456\n"),
                ("sys/fs/cgroup/a/b/memory.max", "1073741824\n"),
                ("sys/fs/cgroup/a/b/memory.high", "max\n"),
                ("sys/fs/cgroup/c/memory.max", "1\n"),
            ],
        );
        assert_eq!(memory_bytes(&root.0), Some(256 << 20));
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_mount() {
        let root = Root::new(
            "namespace",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/../host/path\n"),
                ("sys/fs/cgroup/memory.max", "536870912\n"),
            ],
        );
        assert_eq!(memory_bytes(&root.0), Some(512 << 20));
    }

    #[test]
    fn the_v1_limit_counts_and_its_huge_value_is_none() {
        let group = ("proc/self/cgroup", "4:cpu,memory:/docker/x\n0::/\n");
        let limit = "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes";
        let root = Root::new("v1", &[MEMINFO, group, (limit, "134217728\n")]);
        assert_eq!(memory_bytes(&root.0), Some(128 << 20));
        let root = Root::new("v1-none", &[MEMINFO, group, (limit, "9223372036854771712\n")]);
        assert_eq!(memory_bytes(&root.0), Some(8 * GIB));
    }

    #[test]
    fn a_host_that_tells_nothing_is_no_fault() {
        let root = Root::new("silent", &[("proc/meminfo", "nonsense\n"), ("proc/self/limits", "nonsense\n")]);
        let host = Host::probe(&root.0);
        assert_eq!((host.memory_bytes, host.descriptors), (None, None));
        assert!(host.cores >= 1);
    }

    #[test]
    fn the_hard_limit_of_open_files_is_read_and_bounded() {
        for (hard, expected) in
            [("4096", 4096), ("1073741816", DESCRIPTORS_MAX), ("unlimited", DESCRIPTORS_MAX)]
        {
            let limits =
                format!("Limit Soft Hard Units\nMax open files            1024        {hard}      files \n");
            let root = Root::new(&format!("nofile-{hard}"), &[("proc/self/limits", &limits)]);
            assert_eq!(descriptors(&root.0), Some(expected));
        }
    }

    #[test]
    fn this_host_tells_its_memory_and_limit() {
        let host = Host::probe(Path::new("/"));
        assert!(host.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{host:?}");
        assert!(host.descriptors.is_some_and(|count| count >= 64), "{host:?}");
    }
}
