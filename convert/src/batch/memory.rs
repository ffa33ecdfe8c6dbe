//! A budget of bytes that running jobs share.

use std::sync::{Condvar, Mutex, PoisonError};

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

/// The machine's memory in bytes, if the system says.
pub(super) fn of_machine() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
