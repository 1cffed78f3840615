//! The plane's threads give way to the shards: nice +10, set by each thread for itself. Those that answer callers ask for short turns
//! besides: no more of the processor, but soon.

#![allow(unsafe_code, reason = "setpriority and sched_setattr have no safe wrapper among our dependencies")]

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

/// The length of a turn that is asked for: the least the kernel gives (kernel/sched/syscalls.c, since Linux 6.12). Threads are chosen
/// by when their turn would end, so that a short one comes before the long ones of others, as far as the share of a thread of this
/// priority goes.
const TURN_NANOS: u64 = 100_000;

/// `struct sched_attr` of sched_setattr(2), in its first form.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Lowers the calling thread's priority, and asks for short turns.
pub(crate) fn lower_with_short_turns() {
    lower();
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: NICE,
        priority: 0,
        runtime: TURN_NANOS,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as many bytes behind the pointer as `size` says, which is the whole value, and writes none. 0 is the
    // calling thread.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
    if failed {
        // It answers all the same, on a busy machine a few milliseconds later.
        tracing::debug!(error = %std::io::Error::last_os_error(), "a control thread has turns as long as others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: the call is one the kernel takes: a wrong shape of it would be refused, and nobody would notice.
    #[test]
    fn short_turns_are_taken() {
        let told = std::thread::spawn(|| {
            lower_with_short_turns();
            let mut told = Attributes {
                size: 0,
                policy: 0,
                flags: 0,
                nice: 0,
                priority: 0,
                runtime: 0,
                deadline: 0,
                period: 0,
            };
            let size = size_of::<Attributes>();
            // SAFETY: the kernel writes at most `size` bytes, which is the whole value. 0 is the calling thread.
            let failed = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut told, size, 0) } != 0;
            (!failed).then_some((told.nice, told.runtime))
        });
        let (nice, runtime) = told.join().unwrap().expect("the kernel tells");
        assert_eq!(nice, NICE);
        // Kernels before 6.12 keep no length of turns.
        assert!(runtime == 0 || runtime == TURN_NANOS || runtime > 500_000, "{runtime}");
    }
}
