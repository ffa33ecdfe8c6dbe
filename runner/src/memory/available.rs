//! Memory that the system would give: what Linux calls available, within the limits of control groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups are mounted, as systemd and container runtimes have it.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes that may be taken without swapping; None where the system does not say (other than Linux).
pub fn available() -> Option<u64> {
    let system = mem_available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(folders).filter_map(|(folder, files)| left(&folder, files));
    Some(limits.fold(system, u64::min))
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The names of a group's files: limit, use, and the lines of memory.stat with what the use contains of file pages,
/// which give way to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    used: &'static str,
    file_pages: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    file_pages: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Files =
    Files { limit: "memory.max", used: "memory.current", file_pages: ["inactive_file", "active_file"] };

/// The folders of a line of /proc/self/cgroup (`hierarchy:controllers:path`): that group and those around it, each
/// of which may have a limit. In a container the path may be one that only the host sees; the root then is
/// the container's own.
fn folders(line: &str) -> Vec<(PathBuf, Files)> {
    let mut fields = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (mount, files) = match controllers {
        "" => (Path::new(CGROUPS).to_owned(), VERSION_2),
        _ if controllers.split(',').any(|c| c == "memory") => (Path::new(CGROUPS).join("memory"), VERSION_1),
        _ => return Vec::new(),
    };
    let inside = Path::new(path.trim_start_matches('/'));
    inside.ancestors().map(|group| (mount.join(group), files)).collect()
}

/// What a group leaves, in bytes; None without a limit.
fn left(folder: &Path, files: Files) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = (number(files.limit)?, number(files.used)?);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    Some(limit.saturating_sub(used.saturating_sub(file_pages(&stat, files))))
}

fn file_pages(stat: &str, files: Files) -> u64 {
    let value = |key: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    files.file_pages.into_iter().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        let text = "MemTotal:       24689208 kB\nMemFree:        22996160 kB\nMemAvailable:   23899540 kB\n";
        assert_eq!(mem_available(text), Some(23_899_540 * 1024));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: much\n"), None);
    }

    #[test]
    fn groups_and_those_around_them() {
        let paths = |line| folders(line).into_iter().map(|(folder, _)| folder).collect::<Vec<_>>();
        assert_eq!(paths("0::/"), [Path::new("/sys/fs/cgroup")]);
        let nested = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(paths("0::/a/b"), nested.map(PathBuf::from));
        let first = ["/sys/fs/cgroup/memory/docker", "/sys/fs/cgroup/memory"];
        assert_eq!(paths("7:memory:/docker"), first.map(PathBuf::from));
        assert!(paths("4:cpu,cpuacct:/docker").is_empty() && paths("nonsense").is_empty());
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_give_way() {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(left(folder.path(), VERSION_2), None, "no such group");
        write("memory.max", "max\n");
        write("memory.current", "5000\n");
        assert_eq!(left(folder.path(), VERSION_2), None, "no limit");
        write("memory.max", "9000\n");
        assert_eq!(left(folder.path(), VERSION_2), Some(4000));
        write("memory.stat", "anon 2000\ninactive_file 1000\nactive_file 500\nactive_file_x 7\n");
        assert_eq!(left(folder.path(), VERSION_2), Some(5500));
        write("memory.max", "100\n");
        assert_eq!(left(folder.path(), VERSION_2), Some(0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_says() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
