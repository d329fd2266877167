//! What of the host's memory can be had, asked before much of it is.
use crate::error::{Category, Error, Result, size};

/// Bytes that the system can give to this process without swapping: what Linux calls available, or less where the process's
/// control group has a limit. None where the system does not say.
pub fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|info| meminfo(&info, "MemAvailable:"));
    let group = |name: &str| read(&format!("/sys/fs/cgroup/memory.{name}"));
    let limit = group("max").and_then(|max| limit(&max, &group("current")?, &group("stat")?));
    system.into_iter().chain(limit).min()
}

/// Bytes of all memory of the system; none where it does not say.
pub fn total() -> Option<u64> {
    meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// A value of /proc/meminfo, which counts in units of 1024 bytes.
fn meminfo(info: &str, key: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// What a control group may still take: files in its page cache give way.
fn limit(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    Some(max.saturating_sub(current.saturating_sub(files.unwrap_or(0))))
}

/// Whether memory for all of `parts`, what each is for and its bytes, can be had.
///
/// # Errors
/// It can not; says what is needed for what, and what is available.
pub fn check(parts: &[(&str, u64)]) -> Result<()> {
    check_in(parts, available())
}

fn check_in(parts: &[(&str, u64)], available: Option<u64>) -> Result<()> {
    let needed = parts.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let Some(available) = available.filter(|available| needed > *available) else { return Ok(()) };
    let named: Vec<String> =
        parts.iter().filter(|(_, bytes)| *bytes > 0).map(|(what, bytes)| format!("{what} {}", size(*bytes))).collect();
    Err(Error::new(Category::Device, "Out of memory")
        .details(format!("needed {} ({}), available {}", size(needed), named.join(", "), size(available)))
        .hint("lower --context, --max-sequences or --batch, choose a smaller model, or end other programs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_system_says() {
        let info = "MemTotal:       24643584 kB\nMemFree:         1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(meminfo(info, "MemAvailable:"), Some(2 << 20));
        assert_eq!(meminfo(info, "SwapFree:"), None);
        assert_eq!(limit("max\n", "5\n", ""), None);
        assert_eq!(limit("1000\n", "700\n", "anon 1\ninactive_file 200\n"), Some(500));
        assert_eq!(limit("1000\n", "1700\n", "anon 1\n"), Some(0));
        #[cfg(target_os = "linux")]
        assert!(available().is_some_and(|bytes| bytes > 0) && available() <= total());
    }

    #[test]
    fn what_cannot_be_had_is_said_with_figures() {
        let parts = [("keys and values", 3_000_000_000), ("the rest", 1_500_000_000)];
        assert!(check_in(&parts, None).is_ok() && check_in(&parts, Some(4_500_000_000)).is_ok());
        let error = check_in(&parts, Some(4_400_000_000)).unwrap_err().to_string();
        let details = "needed 4.5 GB (keys and values 3.0 GB, the rest 1.5 GB), available 4.4 GB";
        assert!(error.starts_with("[ERROR] Device: Out of memory\n") && error.contains(details), "{error}");
        assert!(check_in(&[("a", u64::MAX), ("b", 1)], Some(1)).is_err(), "sums do not wrap");
    }
}
