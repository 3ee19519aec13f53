//! One exchange: the way of a request from its first byte to its line in the access log.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::answer::{Answer, Answered, Asked};
use super::body::{Body, BodyFault, Relay};
use super::connection::{Connection, Next};
use super::fault::{Fault, Shape};
use super::io::{fill, write_all};
use super::local;
use super::record::StreamRecord;
use super::reply::{FaultReply, To};
use super::retry::{Failure, Tries};
use super::tunnel::{self, TunnelEnd, Ways};
use super::{Context, Held};
use crate::cluster::{Cluster, RequestPermit};
use crate::codec::Refusal;
use crate::codec::authority::Authority;
use crate::codec::framing::Framing;
use crate::codec::head::{HeadScanner, skip_empty_lines};
use crate::codec::request::Request;
use crate::codec::response::RequestKind;
use crate::codec::target::{AbsoluteTarget, Target};
use crate::config::Http1;
use crate::drain::Phase;
use crate::event_loop::{Buffer, ScratchVec};
use crate::filter::policy::Ask;
use crate::upstream::{UpstreamConnection, count};

/// A whole body up to this size that came with its head leaves with it, in one write.
const BODY_AT_HAND: u64 = 16 * 1024;

/// Serves one request; `buffer` holds what came of it already.
pub(super) async fn exchange(connection: &mut Connection, mut buffer: Option<Buffer>) -> Next {
    let mut exchange = Exchange::begin(connection);
    let head = match exchange.expect_head(&mut buffer).await {
        Ok(Some(head)) => head,
        Ok(None) => return Next::Cut { reset: false },
        Err(fault) => return Box::pin(exchange.refuse(fault, Framing::None, buffer)).await,
    };
    let plan = exchange.plan(&buffer.as_ref().map_or(&[][..], Buffer::bytes)[..head]);
    consume(&mut buffer, head);
    // What is rare is boxed, so that the common way stays small.
    match plan {
        Ok(Plan::Forward(forward)) => exchange.forward(forward, buffer).await,
        Ok(Plan::Connect(authority)) => Box::pin(exchange.connect(authority, buffer)).await,
        Ok(Plan::Answered { framing }) => Box::pin(exchange.answer_locally(framing, buffer)).await,
        Err((fault, framing)) => Box::pin(exchange.refuse(fault, framing, buffer)).await,
    }
}

/// What is to be done with a request.
enum Plan {
    /// The head for the upstream stands in `Exchange::out`.
    Forward(Forward),
    Connect(Authority),
    /// The answer, our own, stands in `Exchange::out`.
    Answered {
        framing: Framing,
    },
}

/// What forwarding must know of a request once its head is gone.
struct Forward {
    authority: Authority,
    framing: Framing,
    kind: RequestKind,
    /// May be sent again (RFC 9110 section 9.2.2).
    idempotent: bool,
    upgrade: bool,
}

struct Exchange<'c> {
    connection: &'c mut Connection,
    context: Rc<Context>,
    snapshot: Rc<Held>,
    options: Rc<Http1>,
    record: StreamRecord,
    /// The head on its way out.
    out: ScratchVec,
    to: To,
    is_connect: bool,
}

impl<'c> Exchange<'c> {
    fn begin(connection: &'c mut Connection) -> Self {
        let context = connection.context.clone();
        let record = StreamRecord::begin(context.next_request_id(), context.event_loop.scratch.lend());
        Exchange {
            snapshot: context.snapshot(),
            options: connection.listener.http1(),
            out: context.event_loop.scratch.lend(),
            to: To { minor_version: 1, is_head: false, keeps_alive: false },
            is_connect: false,
            connection,
            context,
            record,
        }
    }

    /// Reads until a whole head is in the buffer; its length, or `None` when the client ended
    /// without a request.
    async fn expect_head(&mut self, buffer: &mut Option<Buffer>) -> Result<Option<usize>, Fault> {
        let mut scanner = HeadScanner::default();
        let mut started = false;
        let mut timed = false;
        loop {
            if let Some(held) = buffer {
                if !started && let Some(empty) = skip_empty_lines(held.bytes()).map_err(Fault::Request)? {
                    held.consume(empty);
                    started = true;
                }
                if started {
                    let bytes = held.bytes();
                    match scanner.find_end(bytes, self.options.max_request_headers) {
                        Ok(Some(end)) => return Ok(Some(end)),
                        // An over-long request line is told early.
                        Ok(None) if bytes.len() > self.options.max_target + 64 && !scanner.has_line() => {
                            return Err(Fault::Request(Refusal::TargetTooLong));
                        }
                        Ok(None) => {}
                        Err(Refusal::HeadTooLarge) if !scanner.has_line() => return Err(Fault::Request(Refusal::TargetTooLong)),
                        Err(refusal) => return Err(Fault::Request(refusal)),
                    }
                    held.reserve(self.options.max_request_headers);
                }
                if !timed {
                    timed = true;
                    self.connection.deadline.set(self.options.request_headers_timeout);
                }
            }
            let (mut reader, _) = self.connection.stream.split();
            match self.connection.deadline.limit(fill(&mut reader, buffer, &self.context.event_loop.buffers)).await {
                None if buffer.is_none() => {
                    self.context.stats.downstream_cx_idle_timeout.increment();
                    return Ok(None);
                }
                None => return Err(Fault::HeadTimeout),
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) if started => return Err(Fault::ClientGone),
                Some(Ok(0) | Err(_)) => return Ok(None),
            }
        }
    }

    /// Reads the head and decides: everything here is done without waiting.
    fn plan(&mut self, head: &[u8]) -> Result<Plan, (Fault, Framing)> {
        self.connection.requests += 1;
        self.record.heads_received = head.len() as u64;
        self.context.stats.downstream_rq_total.increment();
        let context = self.context.clone();
        let mut fields = context.fields.borrow_mut();
        let options = self.options.clone();
        let request = match Request::parse(head, &options, &mut fields) {
            Ok(request) => request,
            Err(refusal) => {
                // For the log, as far as it can be told.
                let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                let mut words = line.splitn(3, |&byte| byte == b' ');
                self.record.set_request(words.next().unwrap_or_default(), words.next().unwrap_or_default(), 1);
                if options.override_stream_error_on_invalid_http_message
                    && refusal.leaves_framing_certain()
                    && let Some((framing, keeps_alive)) = Request::framing(head, &options, &mut fields)
                {
                    self.to.keeps_alive = keeps_alive && self.connection.may_go_on();
                    return Err((Fault::Request(refusal), framing));
                }
                return Err((Fault::Request(refusal), Framing::None));
            }
        };
        self.record.set_request(request.method, request.target_text, request.minor_version);
        self.to = To {
            minor_version: request.minor_version,
            is_head: request.method == b"HEAD",
            keeps_alive: request.keeps_alive() && self.connection.may_go_on(),
        };
        self.is_connect = request.method == b"CONNECT";
        let framing = request.framing;
        self.decide(&request).map_err(|fault| (fault, framing))
    }

    fn decide(&mut self, request: &Request<'_>) -> Result<Plan, Fault> {
        let options = self.options.clone();
        if request.loops {
            return Err(Fault::Loop);
        }
        if request.counts_forwards() && request.max_forwards == Some(0) {
            return self.plan_answer(local::for_max_forwards(request), request);
        }
        match request.target {
            Target::Absolute(_) if !self.options.allow_absolute_url => Err(Fault::Request(Refusal::AbsoluteUrlNotAllowed)),
            Target::Absolute(target) => self.plan_forward(request, &target),
            Target::Authority(_) if request.framing != Framing::None => Err(Fault::Request(Refusal::BodyInConnect)),
            Target::Authority(authority) => {
                self.ask_policy(&authority, request.method)?;
                Ok(Plan::Connect(authority))
            }
            Target::Origin => match default_target(request, &options)? {
                Some(target) => self.plan_forward(request, &target),
                None => {
                    let address = self.connection.stream.local_addr().ok();
                    let page = local::for_origin_form(request, &self.snapshot.config, address).ok_or(Fault::NotAProxyRequest)?;
                    self.plan_answer(page, request)
                }
            },
            Target::Asterisk => self.plan_answer(local::for_options(), request),
        }
    }

    fn plan_forward(&mut self, request: &Request<'_>, target: &AbsoluteTarget<'_>) -> Result<Plan, Fault> {
        self.ask_policy(&target.authority, request.method)?;
        request.write_forwarded(target, &self.options, &mut self.out);
        Ok(Plan::Forward(Forward {
            authority: target.authority,
            framing: request.framing,
            kind: if self.to.is_head { RequestKind::Head } else { RequestKind::Other },
            idempotent: matches!(request.method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"),
            upgrade: request.upgrade,
        }))
    }

    fn plan_answer(&mut self, page: local::Page<'_>, request: &Request<'_>) -> Result<Plan, Fault> {
        self.record.quiet = page.quiet;
        let reply = page.into_reply(self.record.request_id);
        self.record.status = Some(reply.status);
        self.record.reason = "local_page";
        let mut to = self.to;
        to.keeps_alive &= request.framing == Framing::None;
        self.to = to;
        reply.write(to, &self.options, &self.context.event_loop.clock.http_date(), &mut self.out);
        Ok(Plan::Answered { framing: request.framing })
    }

    fn ask_policy(&mut self, authority: &Authority, method: &[u8]) -> Result<(), Fault> {
        let snapshot = self.snapshot.clone();
        let verdict =
            snapshot.policy.decide(&Ask { client: self.connection.client.ip(), host: &authority.host, port: authority.port, method });
        self.record.set_rule(verdict.rule.unwrap_or("default"));
        if verdict.allowed {
            return Ok(());
        }
        self.context.stats.policy_denied.increment();
        self.record.set_destination(authority);
        Err(Fault::Denied)
    }

    /// Sends the request on and its answer back.
    async fn forward(&mut self, mut forward: Forward, mut buffer: Option<Buffer>) -> Next {
        let began = Cell::new(false);
        let result = self.try_forward(&mut forward, &mut buffer, &began).await;
        match result {
            Ok((answered, upstream, permit)) => self.after_answer(answered, upstream, permit, buffer),
            Err(fault) if began.get() => self.cut(fault),
            Err(fault) => Box::pin(self.refuse(fault, forward.framing, buffer)).await,
        }
    }

    async fn try_forward(
        &mut self,
        forward: &mut Forward,
        buffer: &mut Option<Buffer>,
        began: &Cell<bool>,
    ) -> Result<(Answered, UpstreamConnection, RequestPermit), Fault> {
        let cluster = self.context.clusters.get(&forward.authority).map_err(Fault::Dns)?;
        self.record.cluster = Some(cluster.clone());
        let permit = cluster.admit_request()?;
        self.take_body_at_hand(forward, buffer);
        let (answered, upstream) = match cluster.options().max_stream_duration {
            None => self.try_until_answered(&cluster, forward, buffer, began).await?,
            Some(limit) => {
                let end = tokio::time::Instant::from_std(self.record.started + limit);
                // Boxed, so that streams without this limit do not carry the tries twice.
                let tries = Box::pin(self.try_until_answered(&cluster, forward, buffer, began));
                tokio::time::timeout_at(end, tries).await.unwrap_or(Err(Fault::MaxDuration))?
            }
        };
        Ok((answered, upstream, permit))
    }

    async fn try_until_answered(
        &mut self,
        cluster: &Rc<Cluster>,
        forward: &Forward,
        buffer: &mut Option<Buffer>,
        began: &Cell<bool>,
    ) -> Result<(Answered, UpstreamConnection), Fault> {
        let may_repeat = forward.idempotent && forward.framing == Framing::None;
        let mut tries = Tries::default();
        let mut kept = cluster.check_out(may_repeat);
        loop {
            self.record.reused = kept.is_some();
            let connected = match kept.take() {
                Some(upstream) => Ok(upstream),
                None => {
                    cluster.preconnect(&self.snapshot);
                    Box::pin(self.connect_upstream(cluster)).await
                }
            };
            let fault = match connected {
                Ok(mut upstream) => {
                    upstream.requests += 1;
                    self.record.endpoint = Some(upstream.endpoint);
                    match self.attempt(&mut upstream, forward, buffer, began).await {
                        Ok(answered) => {
                            tries.succeeded(cluster);
                            return Ok((answered, upstream));
                        }
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            let repeatable = may_repeat && self.record.first_byte.is_none();
            match tries.after(&Failure { fault: &fault, reused: self.record.reused, repeatable }, cluster)? {
                None => return Err(fault),
                Some(wait) if wait.is_zero() => {}
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Lets a small body that is here already leave with its head; it can then be sent again, too.
    fn take_body_at_hand(&mut self, forward: &mut Forward, buffer: &mut Option<Buffer>) {
        if let (Framing::Length(length @ ..=BODY_AT_HAND), Some(held)) = (forward.framing, &buffer)
            && let Some(body) = held.bytes().get(..length as usize)
        {
            self.out.extend_from_slice(body);
            self.record.received.set(length);
            consume(buffer, length as usize);
            forward.framing = Framing::None;
        }
    }

    async fn connect_upstream(&mut self, cluster: &Rc<Cluster>) -> Result<UpstreamConnection, Fault> {
        let connected = cluster.connect(&self.snapshot.address_rules).await?;
        self.record.dns = connected.dns;
        self.record.connect = Some(connected.connect);
        self.record.endpoint = Some(connected.connection.endpoint);
        Ok(connected.connection)
    }

    /// One try on one connection. A fault leaves `began` unset as long as the client has got nothing.
    async fn attempt(
        &mut self,
        upstream: &mut UpstreamConnection,
        forward: &Forward,
        buffer: &mut Option<Buffer>,
        began: &Cell<bool>,
    ) -> Result<Answered, Fault> {
        let context = &*self.context;
        let cluster = self.record.cluster.as_ref().expect("chosen before an attempt");
        count!(cluster.counts(), upstream_rq_total);
        let cluster_options = cluster.options();
        let expires = self.connection.expires();
        let deadline = &self.connection.deadline;
        let (mut client_reader, mut client_writer) = self.connection.stream.split();
        let (mut upstream_reader, mut upstream_writer) = upstream.stream.split();
        let uploaded = Cell::new(forward.framing == Framing::None);
        let mut out = context.event_loop.scratch.lend();
        let answer = Answer {
            context,
            options: &self.options,
            deadline,
            idle_timeout: cluster_options.stream_idle_timeout,
            request_timeout: cluster_options.request_timeout,
            request_ended: Cell::new(None),
            try_ends: cluster_options.per_try_timeout.map(|limit| Instant::now() + limit),
            try_ends_first: Cell::new(false),
            asked: Asked { kind: forward.kind, to: self.to, upgrade: forward.upgrade, expires },
            uploaded: &uploaded,
            began,
            first_byte: Cell::new(None),
            status: Cell::new(None),
            sent: &self.record.sent,
            heads_sent: &self.record.heads_sent,
        };
        deadline.set(cluster_options.stream_idle_timeout);
        let result = if uploaded.get() {
            match deadline.limit(write_all(&mut upstream_writer, &mut [std::io::IoSlice::new(&self.out)])).await {
                None => Err(Fault::StreamIdle),
                Some(Err(error)) => Err(Fault::UpstreamReset(error)),
                Some(Ok(())) => {
                    let answered = answer.run(&mut upstream_reader, &mut client_writer, &mut out);
                    unless_reset(answered, &client_reader).await
                }
            }
        } else {
            let body = Body::new(forward.framing, forward.framing, self.options.max_request_headers, &self.options);
            let relay = Relay {
                event_loop: &context.event_loop,
                deadline,
                idle_timeout: cluster_options.stream_idle_timeout,
                moved: &self.record.received,
            };
            let upload = body.relay(&mut client_reader, &mut upstream_writer, &self.out, buffer, &relay);
            let answered = answer.run(&mut upstream_reader, &mut client_writer, &mut out);
            let sent = || {
                uploaded.set(true);
                answer.set_patience();
            };
            Box::pin(both_ways(upload, answered, sent)).await
        };
        let (first_byte, status) = (answer.first_byte.get(), answer.status.get());
        self.record.first_byte = first_byte.map(|at| at.duration_since(self.record.started));
        self.record.status = status;
        if let Some(status) = status {
            cluster.counts().cluster.count_status(status);
        }
        result
    }

    /// Gives the upstream connection back where it is fit for another exchange, and writes the record.
    fn after_answer(&mut self, answered: Answered, upstream: UpstreamConnection, permit: RequestPermit, buffer: Option<Buffer>) -> Next {
        if answered.upgraded {
            return Next::Tunnel(self.tunnel(upstream, Ways::new(buffer, answered.rest), Some(permit)));
        }
        if answered.reusable
            && let Some(cluster) = &self.record.cluster
        {
            cluster.check_in(upstream, Instant::now());
        }
        self.record.finish(self.connection);
        match (answered.reset, answered.keeps_alive) {
            (true, _) => Next::Cut { reset: true },
            (false, true) => Next::Request(buffer),
            (false, false) => Next::Close,
        }
    }

    /// CONNECT: the answer comes once the upstream connection stands (RFC 9110 section 9.3.6).
    async fn connect(&mut self, authority: Authority, buffer: Option<Buffer>) -> Next {
        match Box::pin(self.open_tunnel(&authority)).await {
            Ok(upstream) => Next::Tunnel(self.tunnel(upstream, Ways::new(buffer, None), None)),
            Err(fault @ Fault::ClientGone) => self.cut(fault),
            Err(fault) => self.refuse(fault, Framing::None, buffer).await,
        }
    }

    async fn open_tunnel(&mut self, authority: &Authority) -> Result<UpstreamConnection, Fault> {
        let cluster = self.context.clusters.get(authority).map_err(Fault::Dns)?;
        self.record.cluster = Some(cluster.clone());
        let upstream = self.connect_upstream(&cluster).await?;
        const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
        let (_, mut writer) = self.connection.stream.split();
        self.connection.deadline.set(cluster.options().stream_idle_timeout);
        let mut slices = [std::io::IoSlice::new(ESTABLISHED)];
        match self.connection.deadline.limit(write_all(&mut writer, &mut slices)).await {
            Some(Ok(())) => {
                self.record.status = Some(200);
                Ok(upstream)
            }
            _ => Err(Fault::ClientGone),
        }
    }

    fn tunnel(&mut self, upstream: UpstreamConnection, ways: Ways, permit: Option<RequestPermit>) -> Box<Tunnel> {
        self.record.compact();
        let record = std::mem::replace(&mut self.record, StreamRecord::begin(0, self.context.event_loop.scratch.lend()));
        Box::new(Tunnel { record, snapshot: self.snapshot.clone(), upstream, ways, _permit: permit })
    }

    /// Tells the client of a fault, as far as it has got nothing yet.
    async fn refuse(&mut self, fault: Fault, framing: Framing, mut buffer: Option<Buffer>) -> Next {
        if matches!(fault, Fault::ClientGone) {
            return self.cut(fault);
        }
        let fault = if self.context.drain.phase() == Phase::Expired { Fault::DrainTimeout } else { fault };
        self.count(&fault);
        let shape = fault.shape();
        // What came behind a CONNECT was meant for a tunnel, and is no request.
        let body_is_here = skip_body(framing, &mut buffer) && !(self.is_connect && buffer.is_some());
        let shape = Shape { closes: shape.closes && !self.survives(&fault), ..shape };
        self.to.keeps_alive &= body_is_here && !shape.closes;
        let detail = match fault {
            Fault::Denied => self.record.rule().to_owned(),
            Fault::AddressDenied { class, .. } => class.name().to_owned(),
            _ => String::new(),
        };
        self.out.clear();
        let date = self.context.event_loop.clock.http_date();
        let reply = FaultReply { fault: &fault, shape: &shape, detail: &detail, request_id: self.record.request_id };
        reply.write(self.to, &self.options, &date, &mut self.out);
        self.record.set_fault(&shape, Some(fault.explanation().into_owned()));
        self.record.status = Some(shape.status);
        self.send_out(buffer).await
    }

    async fn answer_locally(&mut self, framing: Framing, mut buffer: Option<Buffer>) -> Next {
        self.to.keeps_alive &= skip_body(framing, &mut buffer);
        self.send_out(buffer).await
    }

    /// Sends what stands in `out`, and ends the exchange.
    async fn send_out(&mut self, buffer: Option<Buffer>) -> Next {
        self.record.heads_sent.set(self.record.heads_sent.get() + self.out.len() as u64);
        let (_, mut writer) = self.connection.stream.split();
        self.connection.deadline.set(self.options.request_headers_timeout);
        let written = self.connection.deadline.limit(write_all(&mut writer, &mut [std::io::IoSlice::new(&self.out)])).await;
        let keeps_alive = self.to.keeps_alive;
        self.record.finish(self.connection);
        match written {
            Some(Ok(())) if keeps_alive => Next::Request(buffer),
            Some(Ok(())) => Next::Close,
            _ => Next::Cut { reset: true },
        }
    }

    /// Ends a stream whose client has got a part of the answer, or went away.
    fn cut(&mut self, fault: Fault) -> Next {
        let fault = if self.context.drain.phase() == Phase::Expired { Fault::DrainTimeout } else { fault };
        self.count(&fault);
        if matches!(fault, Fault::ClientGone) {
            self.context.stats.downstream_cx_destroy_remote_active_rq.increment();
        }
        self.record.set_fault(&fault.shape(), Some(fault.explanation().into_owned()));
        self.record.finish(self.connection);
        // A reset, so that even a body that ends with the connection does not look whole.
        Next::Cut { reset: true }
    }

    /// Whether the connection outlives an invalid message, as `override_stream_error_on_invalid_http_message`
    /// asks where the end of that message is certain.
    fn survives(&self, fault: &Fault) -> bool {
        self.options.override_stream_error_on_invalid_http_message
            && matches!(fault, Fault::Request(refusal) if refusal.leaves_framing_certain())
    }

    fn count(&self, fault: &Fault) {
        let stats = &self.context.stats;
        match fault {
            Fault::Request(Refusal::HeadTooLarge | Refusal::TooManyFields | Refusal::TargetTooLong) => {
                stats.downstream_rq_too_large.increment();
            }
            Fault::Request(_) => stats.downstream_cx_protocol_error.increment(),
            Fault::HeadTimeout | Fault::BodyTimeout => stats.downstream_rq_timeout.increment(),
            Fault::ResponseTimeout => {
                if let Some(cluster) = &self.record.cluster {
                    count!(cluster.counts(), upstream_rq_timeout);
                }
            }
            _ => {}
        }
    }
}

/// A tunnel that is to run, apart from the exchange that opened it, whose memory is not needed any more.
pub(super) struct Tunnel {
    record: StreamRecord,
    snapshot: Rc<Held>,
    upstream: UpstreamConnection,
    ways: Ways,
    _permit: Option<RequestPermit>,
}

impl Tunnel {
    pub async fn run(mut self: Box<Self>, connection: &mut Connection) {
        let context = connection.context.clone();
        context.stats.tunnels_total.increment();
        context.stats.tunnels_active.increment();
        let options = &self.snapshot.config.tunnel;
        let limits = tunnel::Limits { idle_timeout: options.idle_timeout, max_duration: options.max_duration };
        let end = tunnel::relay(
            &mut connection.stream,
            &mut self.upstream.stream,
            &mut self.ways,
            &context.event_loop,
            &connection.deadline,
            limits,
        )
        .await;
        context.stats.tunnels_active.decrement();
        self.record.received.set(self.ways.received.get());
        self.record.sent.set(self.record.sent.get() + self.ways.sent.get());
        let (flag, reason, detail) = match &end {
            TunnelEnd::Finished => ("", "", None),
            TunnelEnd::Idle if context.drain.phase() == Phase::Expired => ("LR", "drain_timeout", None),
            TunnelEnd::Idle => ("SI", "tunnel_idle", None),
            TunnelEnd::MaxDuration => ("DT", "tunnel_max_duration", None),
            TunnelEnd::ClientFailed(error) => ("DC", "client_gone", Some(error.to_string())),
            TunnelEnd::UpstreamFailed(error) => ("UR", "upstream_reset", Some(error.to_string())),
        };
        (self.record.flag, self.record.reason) = (flag, reason);
        self.record.detail = detail.map(String::into_boxed_str);
        if !matches!(end, TunnelEnd::Finished) {
            // Whoever is still there must not take this for an orderly end.
            connection.reset();
            let _ = socket2::SockRef::from(&self.upstream.stream).set_linger(Some(std::time::Duration::ZERO));
        }
        self.record.finish(connection);
    }
}

/// What an HTTP/1.0 request in origin-form without Host is for, where `default_host_for_http_10` says so.
fn default_target<'x>(request: &Request<'x>, options: &'x Http1) -> Result<Option<AbsoluteTarget<'x>>, Fault> {
    let Some(host) = options.default_host_for_http_10.as_deref().filter(|_| request.minor_version == 0 && request.host().is_none()) else {
        return Ok(None);
    };
    let authority = Authority::parse(host.as_bytes(), Some(80)).map_err(|error| Fault::Request(error.into()))?;
    Ok(Some(AbsoluteTarget { authority, authority_text: host.as_bytes(), path_and_query: request.target_text }))
}

fn consume(buffer: &mut Option<Buffer>, count: usize) {
    if let Some(held) = buffer {
        held.consume(count);
        if held.is_empty() {
            *buffer = None;
        }
    }
}

/// Drops a body that nobody is going to read, when all of it is here; otherwise the connection
/// cannot be used again.
fn skip_body(framing: Framing, buffer: &mut Option<Buffer>) -> bool {
    match (framing, &buffer) {
        (Framing::None, _) => true,
        (Framing::Length(length), Some(held)) if length <= held.bytes().len() as u64 => {
            consume(buffer, length as usize);
            true
        }
        _ => false,
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

/// Runs `future`, but ends it when the client resets its connection meanwhile. A mere end of its
/// sending is no reason: it may well wait for the answer.
async fn unless_reset<T>(future: impl Future<Output = Result<T, Fault>>, client: &tokio::net::tcp::ReadHalf<'_>) -> Result<T, Fault> {
    let mut future = std::pin::pin!(future);
    let client = client.as_ref();
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
