//! A budget of bytes that running jobs share.

use std::{
    fs,
    path::Path,
    sync::{Condvar, Mutex, PoisonError},
};

/// Bytes that are free.
pub(super) struct Budget {
    free: Mutex<u64>,
    returned: Condvar,
}

/// Bytes taken from a budget, until it is dropped.
pub(super) struct Share<'b> {
    budget: &'b Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { free: Mutex::new(bytes), returned: Condvar::new() }
    }

    /// Waits until that much is free and takes it. Never returns if it is more than the whole budget.
    pub(super) fn take(&self, bytes: u64) -> Share<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.returned.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share { budget: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.returned.notify_all();
    }
}

/// The memory that this process may take in bytes, if the system says: the machine's, or less where a
/// control group (a container, a service) limits it.
pub(super) fn of_machine() -> Option<u64> {
    let limit = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|groups| of_control_group(Path::new("/sys/fs/cgroup"), &groups));
    let total = total();
    limit.into_iter().chain(total).min()
}

fn total() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the process's control groups and those around them. `groups` has a line for each:
/// `0::/path` (version 2) or `N:memory:/path` (version 1). In a container the path may be the host's; the
/// root is then the container's group.
fn of_control_group(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        let group = root.join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|folder| folder.starts_with(&root));
        // "max" is none.
        around
            .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| of_control_group(root.path(), groups);
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "3000\n");
        assert_eq!(limit("0::/a/b\n"), Some(3000));
        write("a/b/memory.max", "2000\n");
        assert_eq!(limit("0::/a/b\n"), Some(2000));
        write("memory/memory.limit_in_bytes", "1000\n");
        assert_eq!(limit("5:cpu:/x\n4:memory:/docker/not-here\n0::/a/b\n"), Some(1000));
        assert_eq!(limit("nonsense"), None);
        assert!(of_machine().is_none_or(|bytes| bytes > 0));
    }
}
