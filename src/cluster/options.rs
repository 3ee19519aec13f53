//! Which options hold for which host.

use crate::codec::authority::Host;
use crate::config::{self, ClusterOptions};
use crate::matcher::HostSet;

/// The defaults and the overrides, each shared by the clusters that they fit: through an `Rc` on a
/// worker, whose streams count references, through an `Arc` elsewhere.
pub struct Options<P> {
    defaults: P,
    overrides: Vec<(HostSet, P)>,
}

impl<P: From<ClusterOptions> + Clone> Options<P> {
    pub fn new(config: &config::Cluster) -> Self {
        Options {
            defaults: config.defaults.clone().into(),
            overrides: config.overrides.iter().map(|over| (HostSet::new(&over.hosts), over.options.clone().into())).collect(),
        }
    }

    pub fn of(&self, host: &Host) -> P {
        let matching = self.overrides.iter().find(|(hosts, _)| hosts.contains(host));
        matching.map_or(&self.defaults, |(_, options)| options).clone()
    }
}
