//! Sockets towards upstreams, set up before they connect.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::{ClusterOptions, Egress, TcpOptions};
use crate::sockopt;

pub(super) async fn dial(endpoint: SocketAddr, options: &ClusterOptions) -> io::Result<TcpStream> {
    let socket = if endpoint.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Before the connection, so that it holds for the first byte.
    socket.set_nodelay(true)?;
    change_tcp_options(SockRef::from(&socket), &TcpOptions::default(), &options.tcp)?;
    set_egress(&socket, endpoint.ip(), &options.egress)?;
    socket.connect(endpoint).await
}

/// Sets TCP keep-alive and TCP_USER_TIMEOUT on a socket of either side that has been given `old`.
/// What stays costs no system call.
///
/// # Errors
/// When the kernel does not take them.
pub fn change_tcp_options(socket: SockRef<'_>, old: &TcpOptions, new: &TcpOptions) -> io::Result<()> {
    if let Some(keepalive) = new.keepalive.filter(|_| new.keepalive != old.keepalive) {
        let parameters = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval).with_retries(keepalive.probes);
        socket.set_tcp_keepalive(&parameters)?;
    }
    if new.keepalive.is_none() && old.keepalive.is_some() {
        socket.set_keepalive(false)?;
    }
    if new.user_timeout != old.user_timeout {
        socket.set_tcp_user_timeout(new.user_timeout)?;
    }
    Ok(())
}

/// Says what an egress asks for that this process or machine does not have.
fn explained(what: impl std::fmt::Display, error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; this needs CAP_NET_ADMIN",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot connect {what}: {error}{remedy}"))
}

fn set_egress(socket: &TcpSocket, to: IpAddr, egress: &Egress) -> io::Result<()> {
    if let Some(mark) = egress.mark {
        SockRef::from(socket).set_mark(mark).map_err(|error| explained(format_args!("with mark {mark}"), error))?;
    }
    if let Some(interface) = &egress.interface {
        let bound = SockRef::from(socket).bind_device(Some(interface.as_bytes()));
        bound.map_err(|error| explained(format_args!("through interface {interface}"), error))?;
    }
    let source = match to {
        IpAddr::V4(_) => egress.source_v4.map(IpAddr::V4),
        IpAddr::V6(_) => egress.source_v6.map(IpAddr::V6),
    };
    if let Some(source) = source {
        // Else a port is taken here, whatever the destination, and a source address has no more connections in all than
        // there are ephemeral ports: the kernel shall choose the port when it connects, so that it need only be free for that
        // destination. Where it does not know the option, that is how it is.
        let _ = sockopt::set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32);
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| explained(format_args!("from {source}"), error))?;
    }
    Ok(())
}

/// Tries an egress on sockets that go nowhere, so that what can never work is told at the start.
///
/// # Errors
/// When the process may not set the mark or the interface.
pub fn check_egress(egress: &Egress) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    let unbound = Egress { source_v4: None, source_v6: None, ..egress.clone() };
    match set_egress(&socket, IpAddr::from([0, 0, 0, 0]), &unbound) {
        // An interface or address may come later.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Whether an address can be reached from where connections have to come.
pub fn can_leave(to: IpAddr, egress: &Egress) -> bool {
    match to {
        _ if egress.source_v4.is_none() && egress.source_v6.is_none() => true,
        IpAddr::V4(_) => egress.source_v4.is_some(),
        IpAddr::V6(_) => egress.source_v6.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;
    use crate::config;

    async fn dialled(options: ClusterOptions) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let stream = dial(listener.local_addr()?, &options).await?;
        Ok((stream, listener.accept().await?.1))
    }

    #[tokio::test]
    async fn options_reach_the_socket() {
        let keepalive = config::TcpKeepalive { idle: Duration::from_secs(77), interval: Duration::from_secs(7), probes: 5 };
        let tcp = TcpOptions { keepalive: Some(keepalive), user_timeout: Some(Duration::from_millis(1234)) };
        let egress = Egress { source_v4: Some(Ipv4Addr::new(127, 0, 0, 9)), ..Egress::default() };
        let (stream, peer) = dialled(ClusterOptions { tcp, egress, ..ClusterOptions::default() }).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), keepalive.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), keepalive.probes);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1234)));
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 9));
        change_tcp_options(SockRef::from(&stream), &tcp, &TcpOptions::default()).unwrap();
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap().unwrap_or_default(), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_cannot_be_is_explained() {
        let elsewhere = Egress { source_v4: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Egress::default() };
        let nowhere = Egress { interface: Some("no-such-if".to_owned()), ..Egress::default() };
        for (egress, told) in [(elsewhere, "from 192.0.2.1"), (nowhere, "through interface no-such-if")] {
            assert!(check_egress(&egress).is_ok());
            let error = dialled(ClusterOptions { egress, ..ClusterOptions::default() }).await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    /// The kernel's own word for it: a bound socket without a port. Of either family.
    #[tokio::test]
    async fn a_source_address_takes_no_port_of_its_own() {
        let egress = Egress { source_v4: Some(Ipv4Addr::LOCALHOST), source_v6: Some(Ipv6Addr::LOCALHOST), ..Egress::default() };
        let v4 = (TcpSocket::new_v4().unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let v6 = (TcpSocket::new_v6().unwrap(), IpAddr::V6(Ipv6Addr::LOCALHOST));
        for (socket, to) in [v4, v6] {
            set_egress(&socket, to, &egress).unwrap();
            assert_eq!(socket.local_addr().unwrap(), SocketAddr::new(to, 0));
        }
    }

    #[test]
    fn a_family_without_a_source_is_not_used() {
        let (v4, v6) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([0; 16]));
        let source = Egress { source_v4: Some(Ipv4Addr::LOCALHOST), ..Egress::default() };
        assert!(can_leave(v4, &source) && !can_leave(v6, &source));
        assert!(can_leave(v6, &Egress::default()));
    }
}
