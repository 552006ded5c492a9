//! Everything the crate asks of the operating system, each question with a portable answer.
//!
//! How many threads are worth starting, please back this memory with huge pages, and facts for
//! benchmarks (`machine`). All are hints: a wrong or missing answer costs speed, never correctness.

mod machine;

use std::num::NonZeroUsize;
use std::thread;

pub(crate) use machine::last_level_cache;
pub use machine::{available_memory, machine_name};

/// Threads that make the kernels fastest: the physical cores this process may use.
///
/// The kernels are bound by memory and by the vector units, which the hardware threads of one core
/// share. On Linux the answer honours the affinity mask and control groups; elsewhere, and where the
/// topology is hidden, it is the number of hardware threads.
pub fn default_threads() -> NonZeroUsize {
    let available = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    physical_cores().map_or(available, |cores| cores.min(available))
}

/// Threads that can run at once.
pub(crate) fn hardware_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Distinct cores among the processors of the affinity mask, from `/proc` and `/sys`.
#[cfg(target_os = "linux")]
fn physical_cores() -> Option<NonZeroUsize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = std::collections::BTreeSet::new();
    for cpu in parse_list(allowed)? {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings = std::fs::read_to_string(path).ok()?;
        cores.insert(parse_list(&siblings)?.first().copied()?);
    }
    NonZeroUsize::new(cores.len())
}

#[cfg(not(target_os = "linux"))]
fn physical_cores() -> Option<NonZeroUsize> {
    None
}

/// Parses the kernel's list format, such as `0-3,8,10-11`.
#[cfg(target_os = "linux")]
fn parse_list(text: &str) -> Option<Vec<usize>> {
    const LIMIT: usize = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) = (low.parse().ok()?, high.parse().ok()?);
        if high >= LIMIT {
            return None;
        }
        cpus.extend(low..=high);
    }
    Some(cpus)
}

/// Asks for huge pages: at tens of GB/s the page walks of 4 KiB pages are a tenth of the time.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge_pages(memory: &mut [u8]) {
    const MADV_HUGEPAGE: i32 = 14;
    unsafe extern "C" {
        fn madvise(address: *mut u8, length: usize, advice: i32) -> i32;
    }
    // SAFETY: the range is one live allocation, borrowed exclusively; the advice changes how its pages
    // are mapped and nothing else. A refusal (unaligned range, no such feature) is harmless.
    unsafe { madvise(memory.as_mut_ptr(), memory.len(), MADV_HUGEPAGE) };
}

/// Asks for huge pages: not available here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge_pages(_memory: &mut [u8]) {}

/// Asks for the use of AMX's tiles by this process: threads started afterwards inherit the permission.
/// Asking again is harmless.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn permit_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let status: i64;
    // SAFETY: a system call with two integers, which changes what the kernel saves for the process and
    // nothing else; the kernel clobbers `rcx` and `r11`.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => status,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    status == 0
}

/// Asks for the use of AMX's tiles: not available here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn permit_tiles() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_thread_is_always_worth_starting() {
        assert!(default_threads().get() <= hardware_threads());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn kernel_lists_are_parsed() {
        assert_eq!(parse_list("\t0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list("5"), Some(vec![5]));
        assert_eq!(parse_list(""), None);
        assert_eq!(parse_list("0-99999999"), None);
        assert_eq!(parse_list("a-b"), None);
    }
}
