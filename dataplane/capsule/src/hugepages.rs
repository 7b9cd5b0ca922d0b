//! How many hugepages are free: whether DPDK's memory can stand on them is decided before EAL starts, which it does once.

use std::{fs, path::Path};

/// Pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugepageSize {
    /// Size of one page, KiB.
    pub kib: u64,
    /// How many are free.
    pub free: u64,
    /// How many there are.
    pub total: u64,
}

/// Every page size that the kernel has, from `/sys/kernel/mm/hugepages`.
pub(crate) fn sizes() -> Vec<HugepageSize> {
    read(Path::new("/sys/kernel/mm/hugepages"))
}

fn read(folder: &Path) -> Vec<HugepageSize> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let kib = entry
                .file_name()
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let number =
                |file: &str| fs::read_to_string(entry.path().join(file)).ok()?.trim().parse().ok();
            Some(HugepageSize {
                kib,
                free: number("free_hugepages")?,
                total: number("nr_hugepages")?,
            })
        })
        .collect()
}

/// Free memory in hugepages of any size, MiB.
pub(crate) fn free_mib(sizes: &[HugepageSize]) -> u64 {
    sizes.iter().map(|size| size.free * size.kib / 1024).sum()
}

/// What to write to nr_hugepages so that `wanted_mib` are free: pages of 2 MiB, those in use included.
pub(crate) fn needed(sizes: &[HugepageSize], wanted_mib: u64) -> u64 {
    let used: u64 = sizes
        .iter()
        .filter(|size| size.kib == 2048)
        .map(|size| size.total - size.free.min(size.total))
        .sum();
    used + wanted_mib.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_summed_over_sizes() {
        let folder = std::env::temp_dir().join(format!("capsule-hugepages-{}", std::process::id()));
        for (name, free) in
            [("hugepages-2048kB", "10\n"), ("hugepages-1048576kB", "1\n"), ("other", "7\n")]
        {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("free_hugepages"), free).unwrap();
            fs::write(folder.join(name).join("nr_hugepages"), "50\n").unwrap();
        }
        let sizes = read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(sizes.len(), 2);
        assert_eq!(free_mib(&sizes), 20 + 1024);
        assert_eq!(needed(&sizes, 100), 40 + 50);
    }
}
