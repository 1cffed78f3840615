//! The name under which this process appears in records of clients and streams.

use std::sync::LazyLock;

/// `host:pid`.
pub(crate) static NAME: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    format!("{host}:{}", std::process::id())
});
