//! Which private networks clients reach directly, in the forms that they understand.

use ipnet::{IpNet, Ipv4Net};

use crate::config::Addresses;

/// The private networks less what `allow` opens, which is asked of the proxy: what the PAC file calls DIRECT.
pub(super) fn direct_networks(addresses: &Addresses) -> Vec<Ipv4Net> {
    let mut direct: Vec<Ipv4Net> = Addresses::direct().collect();
    for through in addresses.through_proxy() {
        direct = direct.into_iter().flat_map(|net| without(net, through)).collect();
    }
    direct
}

/// `net` less `hole`: at most as many networks as the hole's prefix is longer.
fn without(net: Ipv4Net, hole: Ipv4Net) -> Vec<Ipv4Net> {
    if hole.contains(&net) {
        return Vec::new();
    }
    if !net.contains(&hole) {
        return vec![net];
    }
    let mut left = Vec::new();
    let mut rest = net;
    while rest != hole {
        let Ok(halves) = rest.subnets(rest.prefix_len() + 1) else { break };
        for half in halves {
            if half.contains(&hole) { rest = half } else { left.push(half) }
        }
    }
    left.sort();
    left
}

/// The network as patterns of whole octets, such as `10.*` or `172.16.*` to `172.31.*`.
pub(super) fn host_patterns(net: &Ipv4Net) -> Vec<String> {
    let octets = usize::from(net.prefix_len().div_ceil(8)).max(1);
    let Ok(parts) = IpNet::V4(*net).subnets((octets * 8) as u8) else { return Vec::new() };
    let pattern = |part: IpNet| {
        let text = part.network().to_string();
        let kept: Vec<&str> = text.split('.').take(octets).collect();
        if octets == 4 { text } else { kept.join(".") + ".*" }
    };
    parts.map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    #[test]
    fn patterns_are_whole_octets() {
        assert_eq!(host_patterns(&net("10.0.0.0/8")), ["10.*"]);
        assert_eq!(host_patterns(&net("192.168.0.0/16")), ["192.168.*"]);
        let many = host_patterns(&net("172.16.0.0/12"));
        assert_eq!((many.len(), many[0].as_str(), many[15].as_str()), (16, "172.16.*", "172.31.*"));
        assert_eq!(host_patterns(&net("10.0.0.2/31")), ["10.0.0.2", "10.0.0.3"]);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_is_private_and_not_allowed(
            holes in proptest::collection::vec((any::<u32>(), 1u8..=32, any::<bool>()), 0..4),
            address in any::<u32>(),
            private in any::<bool>(),
        ) {
            let within_ten = |bits: u32, yes: bool| if yes { 10 << 24 | bits >> 8 } else { bits };
            let allow: Vec<IpNet> = holes
                .iter()
                .map(|&(bits, prefix, ten)| Ipv4Net::new(within_ten(bits, ten).into(), prefix).expect("a prefix").trunc().into())
                .collect();
            let address = std::net::Ipv4Addr::from(within_ten(address, private));
            let addresses = Addresses { allow: allow.clone(), deny: vec![] };
            let expected = Addresses::direct().any(|net| net.contains(&address)) && !allow.iter().any(|net| net.contains(&std::net::IpAddr::from(address)));
            prop_assert_eq!(direct_networks(&addresses).iter().any(|net| net.contains(&address)), expected);
        }
    }
}
