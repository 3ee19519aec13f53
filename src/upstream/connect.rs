//! Dialling: all addresses of a name, raced with a delay (RFC 8305).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// No address could be connected to.
#[derive(Debug)]
pub enum ConnectError {
    /// The last failure, and the address that failed.
    Failed {
        endpoint: SocketAddr,
        error: io::Error,
    },
    Timeout,
}

type Attempt = Pin<Box<dyn Future<Output = (SocketAddr, io::Result<TcpStream>)>>>;

/// Connects to the first of `addresses` that answers. The next one is tried when the last attempt
/// failed, or `delay` after it began; attempts under way go on. `failed` is told of each address
/// that did not answer.
///
/// # Errors
/// When every address failed, or none answered within `timeout`.
pub async fn connect(
    addresses: &[SocketAddr],
    delay: Duration,
    timeout: Duration,
    mut failed: impl FnMut(SocketAddr, &io::Error),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let race = async {
        // Most names have one address that works: no race, nothing boxed.
        if let &[endpoint] = addresses {
            return match dial(endpoint).await {
                Ok(stream) => Ok((stream, endpoint)),
                Err(error) => {
                    failed(endpoint, &error);
                    Err(ConnectError::Failed { endpoint, error })
                }
            };
        }
        // Every address gets its turn before the time is up.
        let delay = delay.min(timeout / (addresses.len() as u32 + 1));
        race(addresses, delay, &mut failed).await
    };
    tokio::time::timeout(timeout, race).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn race(
    addresses: &[SocketAddr],
    delay: Duration,
    failed: &mut impl FnMut(SocketAddr, &io::Error),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut waiting = addresses.iter().copied();
    let mut last = None;
    loop {
        if let Some(endpoint) = waiting.next() {
            attempts.push(Box::pin(async move { (endpoint, dial(endpoint).await) }));
        }
        let may_start_another = waiting.len() > 0;
        let ended = tokio::select! {
            ended = first_to_end(&mut attempts), if !attempts.is_empty() => ended,
            () = tokio::time::sleep(delay), if may_start_another => continue,
            else => return Err(last.expect("no address means no call: at least one attempt has failed")),
        };
        match ended {
            (endpoint, Ok(stream)) => return Ok((stream, endpoint)),
            (endpoint, Err(error)) => {
                failed(endpoint, &error);
                last = Some(ConnectError::Failed { endpoint, error });
            }
        }
    }
}

async fn first_to_end(attempts: &mut Vec<Attempt>) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|context| {
        for index in 0..attempts.len() {
            if let Poll::Ready(ended) = attempts[index].as_mut().poll(context) {
                drop(attempts.swap_remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

async fn dial(endpoint: SocketAddr) -> io::Result<TcpStream> {
    let socket = if endpoint.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Before the connection, so that it holds for the first byte.
    socket.set_nodelay(true)?;
    socket.connect(endpoint).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_dead_address_does_not_stop_the_race() {
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (alive_address, dead_address) = (alive.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let mut failures = Vec::new();
        let long = Duration::from_secs(30);
        let (_, endpoint) =
            connect(&[dead_address, dead_address, alive_address], long, long, |address, _| failures.push(address)).await.unwrap();
        assert_eq!(endpoint, alive_address);
        assert_eq!(failures, [dead_address, dead_address]);
    }

    #[tokio::test]
    async fn all_dead_is_an_error() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = dead.local_addr().unwrap();
        drop(dead);
        let long = Duration::from_secs(30);
        for addresses in [&[address][..], &[address, address]] {
            assert!(matches!(connect(addresses, long, long, |_, _| {}).await, Err(ConnectError::Failed { .. })));
        }
    }
}
