//! Taking a listening socket out of service without losing whom it has already.

use std::io;
use std::os::fd::AsFd;

use crate::sockopt;

/// No interface has this index.
const NOWHERE: libc::c_int = libc::c_int::MAX;

/// From now on no new connection comes to this socket: the kernel offers it to the next one that listens on a wider
/// address, else refuses it. Handshakes that have begun end as they would have, and can be accepted. It cannot be undone,
/// and holds for all copies of the socket, in whatever process.
///
/// Closing the socket instead would reset whoever is in its queue, or in the middle of a handshake. It is bound to an
/// interface that does not exist, which the kernel looks at for a new connection alone.
///
/// All sockets of one SO_REUSEPORT group must be muted, at once: the kernel chooses among them without looking.
///
/// # Errors
/// When the kernel is too old for it (before 5.7).
pub fn mute(socket: impl AsFd) -> io::Result<()> {
    sockopt::set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &NOWHERE)
}

/// Whether [`mute`] was called for it, by this process or by another.
pub fn is_muted(socket: impl AsFd) -> bool {
    sockopt::get(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX).is_ok_and(|index| index == NOWHERE)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::listener::{Binding, bind, inode, listen};

    fn listening(address: SocketAddr, own: &HashSet<u64>) -> Vec<TcpListener> {
        let sockets = bind(Binding::new(address, false), 3, own).expect("bound");
        sockets.iter().for_each(|socket| listen(socket).expect("listens"));
        sockets
    }

    fn waiting(sockets: &[TcpListener]) -> usize {
        sockets.iter().map(|socket| std::iter::from_fn(|| socket.accept().ok()).count()).sum()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may block")]
    fn muted_sockets_keep_their_queue_and_leave_the_rest_to_others() {
        let narrow = listening(SocketAddr::from(([127, 0, 0, 1], 0)), &HashSet::new());
        let address = narrow[0].local_addr().expect("bound");
        let inodes = |sockets: &[TcpListener]| sockets.iter().map(|socket| inode(socket).expect("a socket")).collect::<Vec<_>>();
        let own = inodes(&narrow).into_iter().collect();
        let wide = listening(SocketAddr::from(([0, 0, 0, 0], address.port())), &own);
        let connect = |count| (0..count).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect::<Vec<_>>();
        let _early = connect(20);
        narrow.iter().for_each(|socket| mute(socket).expect("a kernel of this decade"));
        let _late = connect(30);
        assert!(is_muted(&narrow[0]) && !is_muted(&wide[0]));
        assert_eq!((waiting(&narrow), waiting(&wide)), (20, 30));
        // The address can be had again.
        let own = inodes(&narrow).into_iter().chain(inodes(&wide)).collect();
        let again = listening(address, &own);
        let _clients = connect(10);
        assert_eq!((waiting(&narrow), waiting(&wide), waiting(&again)), (0, 0, 10));
    }
}
