//! The usual `process_*` metrics, read from `/proc/self`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// Clock ticks a second in `/proc/self/stat`: fixed to 100 in what Linux shows to programs (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the process's figures at each scrape; one that cannot be read is left out.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let mut metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time",
                None,
                MetricType::Counter,
            )?;
            metric.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", kibibytes(&status, "VmRSS:")),
            ("process_virtual_memory_bytes", "Virtual memory", kibibytes(&status, "VmSize:")),
            ("process_threads", "Threads", field(&status, "Threads:")),
            ("process_open_fds", "Open file descriptors", open_fds()),
            ("process_start_time_seconds", "Start of the process since the epoch", start_time(&stat)),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// A field of `/proc/self/stat` by its number in proc(5), from 3 on: the command in field 2 may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str) -> Option<f64> {
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|kib| kib * 1024.0)
}

fn open_fds() -> Option<f64> {
    // Linux tells the number as the size of the directory (since 6.2, proc_pid_fd(5)); before that it is 0, and counting takes
    // milliseconds where there are thousands.
    let told = std::fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 {
        return Some(told as f64);
    }
    // The directory handle itself is one of them while it is read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 1234 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(stat_field(stat, 22), Some(1234.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(kibibytes(&status, "VmRSS:").unwrap() > 0.0);
        assert!(open_fds().unwrap() >= 3.0);
    }
}
