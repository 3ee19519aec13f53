//! Questions over a kept connection: TCP, TLS (RFC 7858) or HTTPS (RFC 8484), as hickory speaks them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TlsConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::h2::HttpsClientStream;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::tls::tls_exchange;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message};
use tokio::sync::Mutex;
use tracing::{debug, warn};

use super::Error;

/// A server's connection, made when first needed.
pub(super) struct Stream {
    address: SocketAddr,
    kind: Kind,
    timeout: Duration,
    /// Owns the tasks that read from connections: they end with it.
    provider: TokioRuntimeProvider,
    connection: Mutex<Connection>,
}

pub(super) enum Kind {
    Tcp,
    Tls { name: String, config: Arc<TlsConfig> },
    Https { name: String, path: String, config: Arc<TlsConfig> },
}

#[derive(Default)]
struct Connection {
    /// Tells the connection that failed from the one that somebody else has made since.
    number: u64,
    /// The last attempt to connect failed.
    is_failing: bool,
    exchange: Option<DnsExchange<TokioRuntimeProvider>>,
}

impl Stream {
    pub(super) fn new(address: SocketAddr, kind: Kind, timeout: Duration) -> Stream {
        Stream { address, kind, timeout, provider: TokioRuntimeProvider::new(), connection: Mutex::default() }
    }

    pub(super) async fn exchange(&self, question: Message) -> Result<Message, Error> {
        loop {
            let (exchange, number, is_reused) = self.connected().await?;
            let request = DnsRequest::new(question.clone(), DnsRequestOptions::default());
            match exchange.send(request).first_answer().await {
                Ok(answer) => {
                    let answer = answer.into_message();
                    return if answer.queries == question.queries { Ok(answer) } else { Err(Error::ServerFailure) };
                }
                Err(error) => {
                    debug!(server = %self.address, %error, "a DNS connection failed");
                    self.forget(number).await;
                    // Servers close idle connections; only on a fresh one does a failure say something of the server.
                    if !is_reused || matches!(error, NetError::Timeout) {
                        return Err(sorted(&error));
                    }
                }
            }
        }
    }

    async fn connected(&self) -> Result<(DnsExchange<TokioRuntimeProvider>, u64, bool), Error> {
        // Held while connecting, so that all who wait get the one connection.
        let mut connection = self.connection.lock().await;
        if let Some(exchange) = &connection.exchange {
            return Ok((exchange.clone(), connection.number, true));
        }
        match tokio::time::timeout(self.timeout, self.connect()).await.unwrap_or(Err(NetError::Timeout)) {
            Ok(exchange) => {
                connection.number += 1;
                connection.is_failing = false;
                connection.exchange = Some(exchange.clone());
                Ok((exchange, connection.number, false))
            }
            Err(error) => {
                // Said once, not for each name: a wrong certificate name, say, is nothing that a client could be told.
                if !std::mem::replace(&mut connection.is_failing, true) {
                    warn!(server = %self.address, %error, "cannot connect to a DNS server");
                }
                Err(sorted(&error))
            }
        }
    }

    async fn connect(&self) -> Result<DnsExchange<TokioRuntimeProvider>, NetError> {
        let provider = self.provider.clone();
        match &self.kind {
            Kind::Tcp => TcpClientStream::exchange(self.address, None, self.timeout, Some(MAX_IN_FLIGHT), provider).await,
            Kind::Tls { name, config } => {
                let name = name.clone().try_into().map_err(|_| NetError::from("not a server name"))?;
                tls_exchange(self.address, name, config.config.clone(), self.timeout, Some(MAX_IN_FLIGHT), provider).await
            }
            Kind::Https { name, path, config } => {
                let mut builder = HttpsClientStream::builder(Arc::new(config.config.clone()), provider);
                builder.request_timeout(self.timeout);
                builder.exchange(self.address, name.as_str().into(), path.as_str().into()).await
            }
        }
    }

    async fn forget(&self, number: u64) {
        let mut connection = self.connection.lock().await;
        if connection.number == number {
            connection.exchange = None;
        }
    }
}

/// Questions on one connection at once; hickory's 32 would refuse work that `max_pending_requests` lets through.
const MAX_IN_FLIGHT: usize = 4096;

fn sorted(error: &NetError) -> Error {
    match error {
        NetError::Timeout => Error::Timeout,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => Error::Unreachable,
        _ => Error::ServerFailure,
    }
}
