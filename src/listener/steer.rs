//! Which of an address's sockets get new connections.

use std::io;
use std::net::TcpListener;

use crate::sockopt;

/// From now on, new connections go to the first `count` sockets of this socket's SO_REUSEPORT group alone, in the order
/// in which they began to listen; what waits in the queues of the others stays there.
///
/// # Errors
/// When the kernel is too old for it (before 4.5), or forbids it.
pub fn steer_to_first(socket: &TcpListener, count: usize) -> io::Result<()> {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    // `load random number; modulo count; return it`: what the program returns is the index of a socket.
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count),
        instruction(libc::BPF_RET | BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    sockopt::set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Back to the kernel's own choice.
///
/// # Errors
/// When nothing was steered, or the kernel is too old to stop (before 5.3).
pub fn stop_steering(socket: &TcpListener) -> io::Result<()> {
    sockopt::set(socket, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32)
}

/// "Return the accumulator", which libc does not have.
const BPF_A: u32 = 0x10;

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use super::*;
    use crate::listener::{Binding, bind, listen};

    fn waiting(sockets: &[TcpListener]) -> Vec<usize> {
        sockets.iter().map(|socket| std::iter::from_fn(|| socket.accept().ok()).count()).collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may block")]
    fn surplus_sockets_get_nothing_new() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = bind(Binding::new(any, false), 4, &HashSet::new()).expect("bound");
        sockets.iter().for_each(|socket| listen(socket).expect("listens"));
        let address = sockets[0].local_addr().expect("bound");
        let connect = || (0..64).map(|_| std::net::TcpStream::connect(address).expect("connected")).collect::<Vec<_>>();
        steer_to_first(&sockets[3], 2).expect("allowed");
        let _clients = connect();
        let counts = waiting(&sockets);
        assert_eq!((counts[0] + counts[1], counts[2], counts[3]), (64, 0, 0));
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
        stop_steering(&sockets[0]).expect("was steered");
        let _clients = connect();
        let counts = waiting(&sockets);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }
}
