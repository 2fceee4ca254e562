//! The allocator of the C library: how much freed memory it keeps to itself.
//!
//! Never allocates and never replaces the allocator.

/// Arenas that a small machine needs for its threads not to wait for each other.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MIN: usize = 2;

/// Limits the arenas to the number of processors.
///
/// glibc makes up to eight for each processor, one for each thread that meets another, and memory that was freed in one
/// is no help to the next: a server on two processors held half as much again as it used, and another amount in each run. To be called
/// before the first thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "the C library has this setting and no safe wrapper"
)]
pub(crate) fn limit_arenas() {
    let processors = std::thread::available_parallelism().map_or(ARENAS_MIN, usize::from);
    let arenas = libc::c_int::try_from(processors.max(ARENAS_MIN)).unwrap_or(libc::c_int::MAX);
    // SAFETY: `mallopt` takes two integers; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn limit_arenas() {}
