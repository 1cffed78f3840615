//! The plane's threads give way to the shards: nice +10, set by each thread for itself.

#![allow(unsafe_code, reason = "setpriority has no safe wrapper among our dependencies")]

/// How much nicer than the shards.
const NICE: libc::c_int = 10;

/// Lowers the calling thread's priority.
pub(crate) fn lower() {
    // SAFETY: setpriority takes plain numbers and touches no memory of ours. On Linux `who` 0 with PRIO_PROCESS means
    // the calling thread alone, since nice values are per thread there.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0;
    if failed {
        // Without it control competes with the shards, which is worse but works.
        tracing::warn!(error = %std::io::Error::last_os_error(), "a control thread keeps the priority of a shard");
    }
}
