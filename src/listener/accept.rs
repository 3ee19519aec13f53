//! Accepting, on one worker.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::downstream::{Context, Listener, serve};

/// Pause after an error that the next accept would meet again, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// One listening socket of one worker.
pub struct Acceptor {
    pub socket: TcpListener,
    pub listener: Rc<Listener>,
    /// Connections of this listener over all workers, and how many there may be.
    pub active: Arc<AtomicUsize>,
    pub max_connections: Rc<Cell<usize>>,
}

/// Accepts until the task is ended.
pub async fn accept(acceptor: Acceptor, context: Rc<Context>) {
    let Acceptor { socket, listener, active, max_connections } = acceptor;
    loop {
        match socket.accept().await {
            Ok((stream, client)) => {
                let Some(place) = Place::take(&active, max_connections.get()) else {
                    context.stats.downstream_cx_overflow.increment();
                    continue;
                };
                let serving = serve(context.clone(), listener.clone(), stream, canonical(client));
                tokio::task::spawn_local(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listener = listener.name, %error, "cannot accept a connection; trying again shortly");
                // Idle connections to upstreams hold descriptors that clients need more.
                context.clusters.close_idle();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A client that gave up before it was accepted is no reason to pause.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
fn canonical(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

/// One of a listener's `max_connections`.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(active: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        if active.fetch_add(1, Ordering::Relaxed) >= max {
            active.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(active.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
