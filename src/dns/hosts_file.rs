//! `/etc/hosts`, as hosts(5) has it, read again when it changed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::changed::Watched;
use crate::codec::authority::Name;

pub(super) struct HostsFile {
    watched: Watched,
    addresses: HashMap<Box<str>, Vec<IpAddr>>,
}

impl HostsFile {
    pub(super) fn new(path: PathBuf) -> HostsFile {
        HostsFile { watched: Watched::new(path), addresses: HashMap::new() }
    }

    /// Addresses of both families in the order of the file. A machine without the file has no names in it.
    pub(super) fn addresses(&mut self, name: &Name) -> &[IpAddr] {
        if self.watched.has_changed() {
            self.addresses = self.watched.read().map(|text| parse(&String::from_utf8_lossy(&text))).unwrap_or_default();
        }
        self.addresses.get(name.as_str()).map_or(&[], Vec::as_slice)
    }
}

fn parse(text: &str) -> HashMap<Box<str>, Vec<IpAddr>> {
    let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // An address with a zone (fe80::1%eth0) means something on one link only; no stream can use it.
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        for name in words.filter_map(|word| Name::parse(word.as_bytes()).ok()) {
            let addresses = names.entry(name.as_str().into()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_hosts_5() {
        let names = parse(
            "# a comment\n\
             127.0.0.1\tlocalhost\n\
             ::1 localhost ip6-localhost # and one behind\n\
             10.0.0.1  Printer.Example. printer\n\
             10.0.0.1  printer\n\
             fe80::1%eth0 router\n\
             nonsense here\n\
             10.0.0.2",
        );
        assert_eq!(names["localhost"], ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(names["printer.example"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(names["printer"].len(), 1);
        assert_eq!(names.len(), 4);
    }
}
