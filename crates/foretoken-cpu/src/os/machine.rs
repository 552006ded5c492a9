//! Facts about the machine that benchmarks report and measurements are kept by.

/// The processor as it calls itself, with the hardware threads this process may use, such as
/// `AMD EPYC 9654, 2 threads`.
pub fn machine_name() -> String {
    let model = processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{model}, {} threads", super::hardware_threads())
}

/// Bytes of the largest cache, where the system tells.
pub(crate) fn last_level_cache() -> Option<usize> {
    let folder = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = folder.flatten().filter_map(|entry| {
        let size = std::fs::read_to_string(entry.path().join("size")).ok()?;
        parse_size(size.trim())
    });
    sizes.max()
}

/// Bytes that can be allocated without pushing anything out, where the system tells.
pub fn available_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1 << 10)
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Parses the kernel's sizes, such as `32768K`.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 1 << 10),
        Some(digits) if text.ends_with('M') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches_are_parsed() {
        assert_eq!(parse_size("32768K"), Some(32 << 20));
        assert_eq!(parse_size("504M"), Some(504 << 20));
        assert_eq!(parse_size("64"), Some(64));
        assert_eq!(parse_size(""), None);
        assert_eq!(parse_size("K"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_has_a_name_and_memory() {
        assert!(machine_name().ends_with("threads"));
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
