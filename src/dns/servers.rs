//! The DNS servers of a configuration, asked in turn until one can tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::TlsConfig;
use hickory_resolver::proto::rr::Name;
use tracing::error;

use super::Error;
use super::datagram;
use super::message::{self, Family};
use super::progress::Progress;
use super::stream::{Kind, Stream};
use crate::config::{self, DnsServer};

pub(super) struct Servers {
    servers: Vec<Server>,
    /// Asked first: the first in the configuration, until it is silent and another is not.
    preferred: AtomicUsize,
    query_timeout: Duration,
    /// For single-label names; empty unless asked for.
    pub(super) search: Vec<Name>,
}

struct Server {
    address: SocketAddr,
    /// Asked by UDP first, and by the stream only for what does not fit.
    is_datagram: bool,
    stream: Stream,
}

impl Servers {
    pub(super) fn new(servers: &[DnsServer], search: Vec<Name>, settings: &config::Dns) -> Servers {
        let timeout = settings.query_timeout;
        // Loading certificates takes longer than all the rest of the start, so only those who need them wait for it.
        let tls = servers.iter().any(|server| matches!(server, DnsServer::Tls { .. } | DnsServer::Https { .. })).then(TlsConfig::new);
        let tls = tls.and_then(|tls| tls.map(Arc::new).inspect_err(|error| error!(%error, "cannot speak TLS to DNS servers")).ok());
        let servers = servers.iter().filter_map(|server| {
            let (address, kind) = match server {
                DnsServer::Udp(address) | DnsServer::Tcp(address) => (address, Kind::Tcp),
                DnsServer::Tls { address, name } => (address, Kind::Tls { name: name.clone(), config: tls.clone()? }),
                DnsServer::Https { address, name, path } => {
                    (address, Kind::Https { name: name.clone(), path: path.clone(), config: tls.clone()? })
                }
            };
            let is_datagram = matches!(server, DnsServer::Udp(_));
            Some(Server { address: *address, is_datagram, stream: Stream::new(*address, kind, timeout) })
        });
        Servers { servers: servers.collect(), preferred: AtomicUsize::new(0), query_timeout: timeout, search }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Asks until all is answered or every server has failed. The caller sets the limit to all of it.
    pub(super) async fn ask(&self, progress: &Progress) {
        let count = self.servers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        // The last server gets all the time that is left; those before it must leave some.
        let share = (self.query_timeout / (count as u32 + 1)).max(LEAST_SHARE);
        let mut was_silent = false;
        for offset in 0..count {
            let index = (first + offset) % count;
            let limit = if offset + 1 == count { self.query_timeout } else { share };
            let ended = tokio::time::timeout(limit, self.servers[index].ask(progress)).await;
            if progress.is_complete() {
                if was_silent {
                    self.preferred.store(index, Ordering::Relaxed);
                }
                return;
            }
            match ended {
                Err(_) => progress.failed(None, Error::Timeout),
                Ok(Err(error)) => progress.failed(None, error),
                // It told, but not what we wanted: that is no reason to leave it for good.
                Ok(Ok(())) => continue,
            }
            was_silent = true;
        }
    }
}

const LEAST_SHARE: Duration = Duration::from_millis(500);

impl Server {
    async fn ask(&self, progress: &Progress) -> Result<(), Error> {
        let mut questions = progress.questions();
        while !questions.is_empty() {
            if self.is_datagram {
                datagram::exchange(self.address, &self.stream, questions.clone(), progress).await?;
            } else {
                Box::pin(self.ask_by_stream(&questions, progress)).await?;
            }
            let left = progress.questions();
            // What is open still was not answered; unless the answer was an alias, asking again would not help.
            questions = left.into_iter().filter(|question| !questions.contains(question)).collect();
        }
        Ok(())
    }

    async fn ask_by_stream(&self, questions: &[(Family, Name)], progress: &Progress) -> Result<(), Error> {
        let ask = async |question: Option<&(Family, Name)>| {
            let Some((family, name)) = question else { return Ok(()) };
            self.stream.exchange(message::question(name, *family, true)).await.map(|answer| progress.answer(*family, &answer))
        };
        let (first, second) = tokio::join!(ask(questions.first()), ask(questions.get(1)));
        first.and(second)
    }
}
