//! How many CPUs this process may really use: its affinity mask, and its cgroup's quota.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Workers for `workers = "auto"`: one for every CPU that may be used, and no more than the cgroup
/// quota pays for.
pub(super) fn usable() -> NonZeroUsize {
    let allowed = allowed_cpus().len().max(1);
    let quota = cgroup_quota(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let usable = quota.map_or(allowed, |quota| allowed.min((quota.ceil() as usize).max(1)));
    NonZeroUsize::new(usable).unwrap_or(NonZeroUsize::MIN)
}

/// The CPUs of the affinity mask (`sched_getaffinity`), in order.
pub(super) fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(mask) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect(),
        Err(_) => vec![0],
    }
}

/// The smallest quota, in CPUs, of the cgroup of this process and all above it.
fn cgroup_quota(root: &Path, membership: &str) -> Option<f64> {
    membership.lines().filter_map(|line| quota_of_line(root, line)).min_by(f64::total_cmp)
}

/// One line of `/proc/self/cgroup`: `0::/path` for version 2, `N:cpu,cpuacct:/path` for version 1.
fn quota_of_line(root: &Path, line: &str) -> Option<f64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (base, read): (PathBuf, fn(&Path) -> Option<f64>) = if controllers.is_empty() {
        (root.to_owned(), quota_v2)
    } else if controllers.split(',').any(|controller| controller == "cpu") {
        (root.join(controllers), quota_v1)
    } else {
        return None;
    };
    let group = base.join(path.trim_start_matches('/'));
    group.ancestors().take_while(|directory| directory.starts_with(&base)).filter_map(read).min_by(f64::total_cmp)
}

/// `cpu.max`: `QUOTA PERIOD`, or `max PERIOD`.
fn quota_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    ratio(words.next()?, words.next()?)
}

fn quota_v1(group: &Path) -> Option<f64> {
    let read = |name| fs::read_to_string(group.join(name)).ok();
    ratio(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_quota_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(cgroup_quota(root.path(), "0::/a/b\n"), None);
        fs::write(root.path().join("a/cpu.max"), "150000 100000\n").unwrap();
        assert_eq!(cgroup_quota(root.path(), "0::/a/b\n"), Some(1.5));
        fs::write(group.join("cpu.max"), "50000 100000\n").unwrap();
        assert_eq!(cgroup_quota(root.path(), "0::/a/b\n"), Some(0.5));
    }

    #[test]
    fn version_1_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("cpu,cpuacct/a");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        fs::write(group.join("cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(cgroup_quota(root.path(), "3:cpu,cpuacct:/a\n1:name=systemd:/a\n"), None);
        fs::write(group.join("cpu.cfs_quota_us"), "200000\n").unwrap();
        assert_eq!(cgroup_quota(root.path(), "3:cpu,cpuacct:/a\n"), Some(2.0));
    }

    #[test]
    fn something_is_usable_here() {
        assert!(usable().get() >= 1);
        assert!(!allowed_cpus().is_empty());
    }
}
