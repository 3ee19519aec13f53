//! The appliance: what surrounds the proxy on a machine, as far as it shows without installing it.

mod generated;
