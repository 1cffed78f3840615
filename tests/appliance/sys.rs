//! System calls the tests need.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JEQ: u16 = 0x15;
const BPF_RET: u16 = 0x06;

/// Makes the kernel answer EPERM to the three io_uring calls of the child, as Docker's default profile does.
pub fn refuse_io_uring(command: &mut Command) {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let is =
        |call: libc::c_long, skip: u8| libc::sock_filter { code: BPF_JEQ, jt: skip, jf: 0, k: call as u32 };
    let answer = |k: u32| libc::sock_filter { code: BPF_RET, jt: 0, jf: 0, k };
    let filter = vec![
        libc::sock_filter { code: BPF_LD_W_ABS, jt: 0, jf: 0, k: 0 },
        is(libc::SYS_io_uring_setup, 3),
        is(libc::SYS_io_uring_enter, 2),
        is(libc::SYS_io_uring_register, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(refuse),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: both calls take plain numbers and a pointer to `program`, which lives across them.
        let outcome = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure only makes two system calls on memory prepared before the fork.
    unsafe { command.pre_exec(install) };
}

/// Sends a signal to a process the tests started.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: no pointers are passed.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}
