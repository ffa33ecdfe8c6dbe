//! Energy that the processor's own counters tell (RAPL, through Linux's powercap), where they may be read.
//!
//! ```text
//!   /sys/class/powercap/intel-rapl:N/energy_uj             microjoules of package N, wrapping
//!                                    max_energy_range_uj   the value before it wraps to 0
//! ```
//!
//! A package is all that is in it, other programs included. Domains inside a package (`intel-rapl:0:1`) are part of it
//! and are not counted again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

const POWERCAP: &str = "/sys/class/powercap";

/// Longest time between two readings: at 1 kW the usual range of 2^32 units of 61 uJ wraps after four minutes, and
/// energy of a wrap that went unseen would be missing.
const LONGEST_SECONDS: u64 = 200;

/// The counters of all packages and their readings when they were opened.
#[derive(Clone, Debug)]
pub struct Counters {
    packages: Vec<Package>,
}

#[derive(Clone, Debug)]
struct Package {
    folder: PathBuf,
    start: u64,
}

impl Counters {
    /// Reads every package's counter; None where there is none that may be read.
    pub fn open() -> Option<Self> {
        Self::open_in(Path::new(POWERCAP))
    }

    fn open_in(powercap: &Path) -> Option<Self> {
        let is_package = |name: &str| {
            let number = name.strip_prefix("intel-rapl:");
            number.is_some_and(|n| n.parse::<u32>().is_ok())
        };
        let entries = fs::read_dir(powercap).ok()?.filter_map(Result::ok);
        // Next to packages there may be the whole platform (`psys`), which contains them.
        let named = |folder: &PathBuf| {
            fs::read_to_string(folder.join("name")).is_ok_and(|name| name.starts_with("package"))
        };
        let folders = entries
            .filter(|e| e.file_name().to_str().is_some_and(is_package))
            .map(|e| e.path())
            .filter(named);
        let packages: Vec<_> = folders
            .map(|folder| Some(Package { start: number(&folder, "energy_uj")?, folder }))
            .collect::<Option<_>>()?;
        (!packages.is_empty()).then_some(Self { packages })
    }

    /// Joules of all packages since they were opened, which was at `opened`; None if a counter can no longer be read
    /// or may have wrapped more than once.
    pub fn joules_since(&self, opened: Instant) -> Option<f64> {
        if opened.elapsed().as_secs() > LONGEST_SECONDS {
            return None;
        }
        let microjoules = |package: &Package| {
            let now = number(&package.folder, "energy_uj")?;
            let wrapped =
                if now < package.start { number(&package.folder, "max_energy_range_uj")? } else { 0 };
            (now + wrapped).checked_sub(package.start)
        };
        let total = self.packages.iter().map(microjoules).sum::<Option<u64>>()?;
        Some(total as f64 * 1e-6)
    }
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_added_and_may_wrap() {
        let powercap = tempfile::TempDir::new().unwrap();
        let write = |domain: &str, file: &str, value: &str| {
            let folder = powercap.path().join(domain);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), value).unwrap();
        };
        assert!(Counters::open_in(powercap.path()).is_none());
        for (domain, name, energy) in [
            ("intel-rapl:0", "package-0\n", "1000\n"),
            ("intel-rapl:1", "package-1\n", "9000\n"),
            ("intel-rapl:2", "psys\n", "7\n"),
            ("intel-rapl:0:0", "core\n", "5\n"),
        ] {
            write(domain, "name", name);
            write(domain, "energy_uj", energy);
            write(domain, "max_energy_range_uj", "10000\n");
        }
        write("intel-rapl", "enabled", "1\n");
        let counters = Counters::open_in(powercap.path()).unwrap();
        assert_eq!(counters.packages.len(), 2);
        write("intel-rapl:0", "energy_uj", "3000\n");
        write("intel-rapl:1", "energy_uj", "500\n");
        // 2000 and 10000 - 9000 + 500.
        assert_eq!(counters.joules_since(Instant::now()), Some(3500.0 * 1e-6));
        fs::remove_file(powercap.path().join("intel-rapl:1/energy_uj")).unwrap();
        assert_eq!(counters.joules_since(Instant::now()), None);
        assert!(Counters::open_in(powercap.path()).is_none(), "not all of the energy");
    }
}
