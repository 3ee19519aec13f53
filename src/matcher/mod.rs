//! Sets of hosts, networks and ports, built once from configuration and asked on every stream: no
//! allocation to ask, a short walk while a list is short, and no slowing down when it is long.

mod hosts;
mod networks;
mod ports;

pub use hosts::HostSet;
pub use networks::NetworkSet;
pub use ports::PortSet;
