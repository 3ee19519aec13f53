//! Dialling: all addresses of a name, raced with a delay (RFC 8305).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use super::socket;
use crate::config::ClusterOptions;
use crate::event_loop::Deadline;

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

/// How an attempt ended that did not win.
#[derive(Debug)]
pub enum Lost<'e> {
    Failed(&'e io::Error),
    /// One that began later was there first: this address was given its time, and did not answer.
    Overtaken,
    TimedOut,
}

/// Connects to the first of `endpoints` that answers. The next one is tried when the last attempt
/// failed, or `happy_eyeballs_delay` after it began; attempts under way go on. `lost` is told of
/// each address that had its chance. `deadline` is the caller's, who waits for nothing else meanwhile.
///
/// # Errors
/// When every address failed, or none answered within `connect_timeout`.
pub async fn connect(
    endpoints: &[SocketAddr],
    options: &ClusterOptions,
    deadline: &Deadline,
    mut lost: impl FnMut(SocketAddr, Lost<'_>),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    deadline.set(options.connect_timeout);
    // Most names have one address that works: no race, nothing boxed, no timer.
    if let &[endpoint] = endpoints {
        return match deadline.limit(socket::dial(endpoint, options)).await {
            Some(Ok(stream)) => Ok((stream, endpoint)),
            Some(Err(error)) => {
                lost(endpoint, Lost::Failed(&error));
                Err(ConnectError::Failed { endpoint, error })
            }
            None => {
                lost(endpoint, Lost::TimedOut);
                Err(ConnectError::Timeout)
            }
        };
    }
    race(endpoints, options, deadline, &mut lost).await
}

type Dial<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + 'a>>;

struct Attempt<'a> {
    endpoint: SocketAddr,
    dial: Dial<'a>,
}

async fn race(
    endpoints: &[SocketAddr],
    options: &ClusterOptions,
    deadline: &Deadline,
    lost: &mut impl FnMut(SocketAddr, Lost<'_>),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    // However many there are, the last one still has half of the time to answer.
    let delay = options.happy_eyeballs_delay.min(options.connect_timeout / 2 / endpoints.len().max(1) as u32);
    let mut waiting = endpoints.iter().copied();
    // In the order in which they began.
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut last = None;
    loop {
        if let Some(endpoint) = waiting.next() {
            attempts.push(Attempt { endpoint, dial: Box::pin(socket::dial(endpoint, options)) });
        } else if attempts.is_empty() {
            return Err(last.unwrap_or(ConnectError::Timeout));
        }
        let patience = (waiting.len() > 0).then_some(delay);
        let (index, outcome) = match deadline.limit(first_to_end(&mut attempts, patience)).await {
            Some(Some(ended)) => ended,
            Some(None) => continue,
            None => {
                attempts.iter().for_each(|attempt| lost(attempt.endpoint, Lost::TimedOut));
                return Err(ConnectError::Timeout);
            }
        };
        let endpoint = attempts[index].endpoint;
        match outcome {
            Ok(stream) => {
                attempts[..index].iter().for_each(|attempt| lost(attempt.endpoint, Lost::Overtaken));
                return Ok((stream, endpoint));
            }
            Err(error) => {
                attempts.remove(index);
                lost(endpoint, Lost::Failed(&error));
                last = Some(ConnectError::Failed { endpoint, error });
            }
        }
    }
}

/// The index of an attempt that has ended, and how; `None` when none has within `patience`.
async fn first_to_end(attempts: &mut [Attempt<'_>], patience: Option<Duration>) -> Option<(usize, io::Result<TcpStream>)> {
    let ended = poll_fn(|context| {
        for (index, attempt) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = attempt.dial.as_mut().poll(context) {
                return Poll::Ready((index, outcome));
            }
        }
        Poll::Pending
    });
    match patience {
        Some(patience) => tokio::time::timeout(patience, ended).await.ok(),
        None => Some(ended.await),
    }
}

impl Lost<'_> {
    /// Whether the address, or the way to it, did not answer. Else it is something of this machine: descriptors,
    /// ports, an interface, a permission.
    pub fn is_of_the_address(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
        match self {
            Lost::Failed(error) => {
                matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut)
            }
            Lost::Overtaken | Lost::TimedOut => true,
        }
    }
}

/// As long as a try's number says: anything up to `base`, doubled with every try up to `max`, so
/// that streams that failed together do not come back together.
pub fn back_off(tries: u32, base: Duration, max: Duration, random: u64) -> Duration {
    let longest = base.saturating_mul(1 << tries.min(20)).min(max);
    longest.mul_f64((random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::Deadlines;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    const LONG: Duration = Duration::from_secs(30);

    fn options(delay: Duration, timeout: Duration) -> ClusterOptions {
        ClusterOptions { happy_eyeballs_delay: delay, connect_timeout: timeout, ..ClusterOptions::default() }
    }

    /// With a deadline that passes.
    async fn connect(
        endpoints: &[SocketAddr],
        options: &ClusterOptions,
        lost: impl FnMut(SocketAddr, Lost<'_>),
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let deadlines = Deadlines::default();
        let deadline = deadlines.register();
        tokio::select! {
            connected = super::connect(endpoints, options, &deadline, lost) => connected,
            () = deadlines.run() => unreachable!("runs for ever"),
        }
    }

    async fn dead() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// A listener that nobody accepts from and whose queue is full: connecting to it takes for ever.
    async fn black_hole() -> (socket2::Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let waiting = (0..8).map_while(|_| connect().ok()).collect();
        (socket, waiting, address)
    }

    #[tokio::test]
    async fn a_dead_address_does_not_stop_the_race() {
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (alive_address, dead) = (alive.local_addr().unwrap(), dead().await);
        let mut failures = Vec::new();
        let options = options(LONG, LONG);
        let (_, endpoint) = connect(&[dead, dead, alive_address], &options, |address, _| failures.push(address)).await.unwrap();
        assert_eq!(endpoint, alive_address);
        assert_eq!(failures, [dead, dead]);
    }

    #[tokio::test]
    async fn all_dead_is_an_error() {
        let address = dead().await;
        for addresses in [&[address][..], &[address, address]] {
            assert!(matches!(connect(addresses, &options(LONG, LONG), |_, _| {}).await, Err(ConnectError::Failed { .. })));
        }
    }

    #[tokio::test]
    async fn a_black_hole_is_overtaken() {
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive_address = alive.local_addr().unwrap();
        let (_socket, _waiting, hole) = black_hole().await;
        let mut overtaken = Vec::new();
        let started = Instant::now();
        let options = options(Duration::from_millis(100), LONG);
        let (_, endpoint) = connect(&[hole, alive_address], &options, |address, lost| {
            assert!(matches!(lost, Lost::Overtaken));
            overtaken.push(address);
        })
        .await
        .unwrap();
        assert_eq!((endpoint, overtaken), (alive_address, vec![hole]));
        assert!((100..1000).contains(&started.elapsed().as_millis()));
    }

    #[tokio::test]
    async fn forty_nine_black_holes_leave_time_for_the_fiftieth() {
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive_address = alive.local_addr().unwrap();
        let (_socket, _waiting, hole) = black_hole().await;
        let mut addresses = vec![hole; 49];
        addresses.push(alive_address);
        let (_, endpoint) = connect(&addresses, &options(Duration::from_millis(250), Duration::from_secs(2)), |_, _| {}).await.unwrap();
        assert_eq!(endpoint, alive_address);
        let mut timed_out = 0;
        let result = connect(&[hole, hole], &options(LONG, Duration::from_millis(100)), |_, lost| {
            assert!(matches!(lost, Lost::TimedOut));
            timed_out += 1;
        })
        .await;
        assert!(matches!(result, Err(ConnectError::Timeout)));
        assert_eq!(timed_out, 2);
    }

    #[test]
    fn waits_grow_and_end() {
        let (base, max) = (Duration::from_millis(25), Duration::from_millis(250));
        assert_eq!(back_off(0, base, max, 512), base / 2);
        assert_eq!(back_off(1, base, max, 512), base);
        assert!(back_off(70, base, max, u64::MAX) <= max);
    }
}
