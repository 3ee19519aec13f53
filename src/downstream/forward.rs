//! Sending a request on, and its answer back: which connection, how often, and what is kept of it.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::net::TcpStream;

use super::answer::{Answer, Answered, Asked};
use super::body::{Body, BodyFault, Relay};
use super::connection::Next;
use super::fault::Fault;
use super::io::write_all;
use super::record::Lap;
use super::retry::{Failure, Tries};
use super::stream::{Exchange, Forward, Position, consume};
use crate::cluster::{Cluster, RequestPermit, Want};
use crate::codec::framing::Framing;
use crate::event_loop::{Deadline, coarse_now};
use crate::upstream::{UpstreamConnection, count};

/// A whole body up to this size that came with its head leaves with it, in one write.
const BODY_AT_HAND: u64 = 16 * 1024;

impl Exchange<'_> {
    /// Sends the request on and its answer back.
    pub(super) async fn forward(&mut self, forward: &mut Forward) -> Next {
        let fault = match self.try_forward(forward).await {
            Ok((answered, upstream, permit)) => return self.after_answer(answered, upstream, permit),
            Err(fault) => fault,
        };
        if self.began.get() {
            return self.cut(fault);
        }
        Box::pin(self.refuse(fault)).await
    }

    async fn try_forward(&mut self, forward: &mut Forward) -> Result<(Answered, UpstreamConnection, RequestPermit), Fault> {
        let permit = forward.cluster.admit_request()?;
        self.take_body_at_hand(forward);
        let (answered, upstream) = match forward.options.max_stream_duration {
            None => self.try_until_answered(forward).await?,
            Some(limit) => {
                let end = tokio::time::Instant::from_std(self.record.started + limit);
                // Boxed, so that streams without this limit do not carry the tries twice.
                let tries = Box::pin(self.try_until_answered(forward));
                tokio::time::timeout_at(end, tries).await.unwrap_or(Err(Fault::MaxDuration))?
            }
        };
        Ok((answered, upstream, permit))
    }

    async fn try_until_answered(&mut self, forward: &Forward) -> Result<(Answered, UpstreamConnection), Fault> {
        let mut tries = Tries::default();
        let mut upstream = self.check_out(&forward.cluster, forward.may_repeat());
        loop {
            self.record.reused = upstream.is_some();
            let fault = match self.try_once(&mut upstream, forward).await {
                Ok(answered) => {
                    tries.succeeded(&forward.cluster);
                    return Ok((answered, upstream.expect("the answer came on it")));
                }
                Err(fault) => fault,
            };
            upstream = None;
            let repeatable = forward.may_repeat() && self.record.first_byte.get().is_none();
            let failure = Failure { fault: &fault, reused: self.record.reused, repeatable };
            match tries.after(&failure, &forward.cluster, &forward.options)? {
                None => return Err(fault),
                Some(wait) if wait.is_zero() => {}
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// On the connection at hand, or a new one.
    async fn try_once(&mut self, upstream: &mut Option<UpstreamConnection>, forward: &Forward) -> Result<Answered, Fault> {
        let upstream = match upstream {
            Some(upstream) => upstream,
            None => {
                if self.context.is_in_force(&self.snapshot) && !self.judges_addresses {
                    forward.cluster.preconnect(&self.snapshot, &self.context.event_loop.deadlines);
                }
                let want = Want::Any { may_repeat: forward.may_repeat() };
                upstream.insert(Box::pin(self.connect_upstream(&forward.cluster, want)).await?)
            }
        };
        upstream.requests += 1;
        self.record.endpoint = Some(upstream.endpoint);
        self.record.upstream_is_ready(upstream.stream.as_raw_fd());
        self.attempt(upstream, forward).await
    }

    /// Lets a small body that is here already leave with its head; it can then be sent again, too.
    fn take_body_at_hand(&mut self, forward: &mut Forward) {
        if let (Framing::Length(length @ ..=BODY_AT_HAND), Some(held)) = (forward.framing, &self.buffer)
            && let Some(body) = held.bytes().get(..length as usize)
        {
            self.out.extend_from_slice(body);
            self.record.received.set(length);
            consume(&mut self.buffer, length as usize);
            forward.framing = Framing::None;
            self.position.set(Position::AfterBody);
        }
    }

    pub(super) async fn connect_upstream(&mut self, cluster: &Rc<Cluster>, want: Want) -> Result<UpstreamConnection, Fault> {
        let connected = {
            let connecting = std::pin::pin!(async { Ok(self.dial(cluster, want).await) });
            unless_reset(connecting, &self.connection.stream).await?
        };
        let mut connected = connected.map_err(|unavailable| self.fault_of(cluster, unavailable))?;
        if self.judges_addresses {
            self.note_rule(cluster, cluster.full_name(), connected.connection.endpoint.ip());
        }
        if !self.context.is_in_force(&self.snapshot) {
            // Its address was tested by rules that do not hold for other streams any more.
            connected.connection.terms = None;
        }
        self.record.dns = connected.dns.into();
        self.record.connect = connected.connect.into();
        self.record.reused = connected.connect.is_none();
        self.record.endpoint = Some(connected.connection.endpoint);
        Ok(connected.connection)
    }

    /// One try on one connection. A fault leaves `began` unset as long as the client has got nothing.
    async fn attempt(&mut self, upstream: &mut UpstreamConnection, forward: &Forward) -> Result<Answered, Fault> {
        let context = &*self.context;
        let cluster = &forward.cluster;
        count!(cluster.counts(), upstream_rq_total);
        let sent = Lap::since(self.record.started);
        let cluster_options = &forward.options;
        let expires = self.connection.expires(&self.options);
        let try_ends = cluster_options.per_try_timeout.map(|limit| context.event_loop.deadlines.passes_after(limit));
        let deadline = &self.connection.deadline;
        let client = &self.connection.stream;
        let upstream = &upstream.stream;
        let uploaded = Cell::new(forward.framing == Framing::None);
        let answer = Answer {
            context,
            options: &self.options,
            deadline,
            idle_timeout: cluster_options.stream_idle_timeout,
            request_timeout: cluster_options.request_timeout,
            request_ended: Cell::new(None),
            head_timeout: cluster_options.response_headers_timeout,
            head_began: Cell::new(None),
            asked: Asked { kind: forward.kind, to: self.to, upgrade: forward.upgrade, expires },
            uploaded: &uploaded,
            began: &self.began,
            first_byte: Cell::new(None),
            status: Cell::new(None),
            sent: &self.record.sent,
            heads_sent: &self.record.heads_sent,
        };
        deadline.set(cluster_options.stream_idle_timeout);
        let sending = async {
            if uploaded.get() {
                return match deadline.limit(write_all(upstream, &mut [std::io::IoSlice::new(&self.out)])).await {
                    None => Err(Fault::StreamIdle),
                    Some(Err(error)) => Err(Fault::UpstreamReset(error)),
                    Some(Ok(())) => {
                        let answered = std::pin::pin!(answer.run(upstream, client));
                        unless_reset(answered, client).await
                    }
                };
            }
            let body = Body::of_request(forward.framing, &forward.hop_by_hop, &self.options);
            let relay = Relay {
                event_loop: &context.event_loop,
                deadline,
                idle_timeout: cluster_options.stream_idle_timeout,
                moved: &self.record.received,
                began: &Cell::new(false),
            };
            // From its first byte on, only the end of the upload says where the next request begins.
            self.position.set(Position::Unknown);
            let upload = body.relay(client, upstream, &self.out, &mut self.buffer, &relay);
            let sent = || {
                uploaded.set(true);
                self.position.set(Position::AfterBody);
                answer.set_patience();
            };
            Box::pin(both_ways(upload, answer.run(upstream, client), sent)).await
        };
        let mut sending = std::pin::pin!(sending);
        let result = match &try_ends {
            None => sending.await,
            Some(end) => unless_passed(sending.as_mut(), end, &answer.first_byte).await,
        };
        let (first_byte, status) = (answer.first_byte.get(), answer.status.get());
        self.record.first_byte = first_byte.map(|at| at.duration_since(self.record.started)).into();
        self.record.status = status;
        if matches!(&result, Ok(answered) if !answered.upgraded) {
            self.record.request_sent = sent;
        }
        if let Some(status) = status {
            cluster.counts().cluster.count_status(status);
        }
        result
    }

    /// Gives the upstream connection back where it is fit for another exchange, and writes the record.
    fn after_answer(&mut self, answered: Answered, upstream: UpstreamConnection, permit: RequestPermit) -> Next {
        if answered.upgraded {
            return Next::Tunnel(self.tunnel(upstream, answered.rest, Some(permit)));
        }
        if answered.reusable
            && let Some(cluster) = &self.record.cluster
        {
            cluster.check_in(upstream, coarse_now());
        }
        self.record.finish(self.connection);
        match (answered.reset, answered.keeps_alive) {
            (true, _) => Next::Cut { reset: true },
            (false, true) => Next::Request(self.buffer.take()),
            (false, false) => Next::Close,
        }
    }
}

fn upload_fault(fault: BodyFault) -> Fault {
    match fault {
        BodyFault::SourceClosed | BodyFault::SourceFailed(_) => Fault::ClientGone,
        BodyFault::Malformed(refusal) => Fault::Request(refusal),
        BodyFault::SinkFailed(error) => Fault::UpstreamReset(error),
        BodyFault::Idle { source: true } => Fault::BodyTimeout,
        BodyFault::Idle { source: false } => Fault::StreamIdle,
    }
}

/// Sends the body while the answer may be coming already; ends with the answer, or with a fault of the
/// client's in the body.
async fn both_ways(
    upload: impl Future<Output = Result<(), BodyFault>>,
    answered: impl Future<Output = Result<Answered, Fault>>,
    uploaded: impl Fn(),
) -> Result<Answered, Fault> {
    let mut upload = std::pin::pin!(upload);
    let mut answered = std::pin::pin!(answered);
    let mut uploading = true;
    std::future::poll_fn(|task| {
        if uploading && let Poll::Ready(result) = upload.as_mut().poll(task) {
            uploading = false;
            match result {
                Ok(()) => uploaded(),
                // It may have answered before it closed.
                Err(BodyFault::SinkFailed(_)) => {}
                Err(fault) => return Poll::Ready(Err(upload_fault(fault))),
            }
        }
        answered.as_mut().poll(task)
    })
    .await
}

/// Runs a try, but ends it when its first byte of an answer has not come by `end`, whatever the client goes on sending.
async fn unless_passed<T>(
    mut sending: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    end: &Deadline,
    first_byte: &Cell<Option<Instant>>,
) -> Result<T, Fault> {
    std::future::poll_fn(|task| match sending.as_mut().poll(task) {
        Poll::Pending if first_byte.get().is_none() => end.poll_passed(task).map(|()| Err(Fault::PerTryTimeout)),
        polled => polled,
    })
    .await
}

/// Runs `future`, but ends it when the client resets its connection meanwhile. A mere end of its
/// sending is no reason: it may well wait for the answer.
async fn unless_reset<T>(mut future: Pin<&mut impl Future<Output = Result<T, Fault>>>, client: &TcpStream) -> Result<T, Fault> {
    let mut watching = true;
    std::future::poll_fn(|task| {
        if let Poll::Ready(output) = future.as_mut().poll(task) {
            return Poll::Ready(output);
        }
        if watching && client.poll_read_ready(task).is_ready() {
            let mut byte = [std::mem::MaybeUninit::uninit()];
            match client.try_io(tokio::io::Interest::READABLE, || socket2::SockRef::from(client).peek(&mut byte)) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    task.waker().wake_by_ref();
                }
                Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
                // Sent ahead, or ended: either way there is nothing more to learn.
                Ok(_) => watching = false,
            }
        }
        Poll::Pending
    })
    .await
}
