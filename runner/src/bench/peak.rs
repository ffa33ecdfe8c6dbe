//! The process's highest resident memory, as Linux counts it.

use std::fs;

/// `VmHWM` of this process, in bytes; None on other systems.
pub fn peak_resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Starts counting anew from what is resident now. False where the system does not allow it.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_counts() {
        let bytes = 64 << 20;
        let touched = vec![1u8; bytes];
        assert!(peak_resident().is_some_and(|peak| peak > bytes as u64), "{}", touched.len());
    }
}
