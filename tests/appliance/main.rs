//! The appliance: what surrounds the proxy on a machine, as far as it shows without installing it. `packaging/test`
//! does the rest, on a machine with a systemd of its own.

mod daemon;
mod generated;
mod journal;
mod listeners;
mod manager;
mod probes;
mod reload;
mod service;
