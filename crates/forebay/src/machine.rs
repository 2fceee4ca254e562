//! How much memory the machine has, as far as this process may use it, and whether it may open files.
//!
//! Linux reports it in `/proc/meminfo` and in the files of the control group; elsewhere a small machine is assumed.

use std::fs::{File, read_to_string};

use forebay_core::{Error, Result};

/// File handles that the runtime takes when it starts, and more: it panics without them.
const HANDLES_MIN: usize = 16;

/// Errors: `Unavailable` `no_file_handles` when the process may not open the files that every command needs.
pub(crate) fn check_file_handles() -> Result<()> {
    let handles: std::io::Result<Vec<File>> =
        (0..HANDLES_MIN).map(|_| File::open("/dev/null")).collect();
    handles.map(drop).map_err(|error| {
        Error::unavailable("no_file_handles", "the process may not open enough files")
            .with_source(error)
            .with_hint("raise the limit of open files: `ulimit -n 1024`, `LimitNOFILE=` in systemd")
    })
}

/// Assumed where the system does not report it: 4 GiB.
const ASSUMED_BYTES: u64 = 4 << 30;
/// Limits of a control group, of version 2 and 1. A container sees its own group at the root.
const GROUP_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Memory of the machine, or of the control group when that has less.
pub(crate) fn memory_bytes() -> u64 {
    let machine = read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text))
        .unwrap_or(ASSUMED_BYTES);
    let own = read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_path(&text));
    let limits = GROUP_LIMITS
        .iter()
        .map(|path| (*path).to_owned())
        .chain(own);
    limits
        .filter_map(|path| read_to_string(path).ok())
        .filter_map(|text| text.trim().parse().ok())
        .fold(machine, u64::min)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// The limit of the group that the process is in, by version 2 of control groups.
fn group_path(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!(
        "/sys/fs/cgroup{}/memory.max",
        path.trim_end_matches('/')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_linux_tells() {
        assert_eq!(
            total("MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            Some(16 << 20)
        );
        assert_eq!(total("nothing"), None);
        let path = group_path("0::/user.slice/a\n");
        assert_eq!(
            path.as_deref(),
            Some("/sys/fs/cgroup/user.slice/a/memory.max")
        );
        assert!(memory_bytes() > 0);
    }
}
