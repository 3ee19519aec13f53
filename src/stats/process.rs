//! What the kernel knows of this process.

/// Memory of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// In RAM now (`VmRSS`).
    pub resident: u64,
    /// The most that ever was in RAM (`VmHWM`).
    pub resident_peak: u64,
    /// Of the resident memory, what belongs to no file: heap and stacks (`RssAnon`).
    pub anonymous: u64,
    /// Address space (`VmSize`).
    pub address_space: u64,
}

impl Memory {
    /// All zero where `/proc` is not to be had.
    pub fn now() -> Self {
        std::fs::read_to_string("/proc/self/status").map(|status| Self::parse(&status)).unwrap_or_default()
    }

    fn parse(status: &str) -> Self {
        let mut memory = Self::default();
        for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
            let place = match name {
                "VmRSS" => &mut memory.resident,
                "VmHWM" => &mut memory.resident_peak,
                "RssAnon" => &mut memory.anonymous,
                "VmSize" => &mut memory.address_space,
                _ => continue,
            };
            let kibibytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            *place = kibibytes * 1024;
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_table() {
        let memory = Memory::parse("Name:\toutrider\nVmSize:\t    4096 kB\nVmHWM:\t 12 kB\nVmRSS:\t      8 kB\nRssAnon:\t 4 kB\n");
        assert_eq!(memory, Memory { resident: 8192, resident_peak: 12288, anonymous: 4096, address_space: 4_194_304 });
        assert!(Memory::now().resident > 0);
    }
}
