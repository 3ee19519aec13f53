//! One exchange: the way of a request from its first byte to its line in the access log.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::connection::{Connection, Next};
use super::fault::Fault;
use super::io::fill;
use super::local;
use super::reasons;
use super::record::StreamRecord;
use super::reply::To;
use super::{Context, Held};
use crate::clients::Share;
use crate::cluster::Cluster;
use crate::codec::Refusal;
use crate::codec::authority::Authority;
use crate::codec::field::NamedFields;
use crate::codec::framing::Framing;
use crate::codec::head::{HeadScanner, skip_empty_lines};
use crate::codec::request::Request;
use crate::codec::response::RequestKind;
use crate::codec::target::{AbsoluteTarget, Target, without_userinfo};
use crate::config::{ClusterOptions, Http1};
use crate::event_loop::{Buffer, ScratchVec};
use crate::filter::policy::{Ask, DEFAULT};
use crate::probes;

/// Serves one request; `buffer` holds what came of it already.
pub(super) fn exchange(connection: &mut Connection, buffer: Option<Buffer>) -> impl Future<Output = Next> {
    let mut exchange = Exchange::begin(connection, buffer);
    // A block, since an `async fn` has its arguments twice in its state.
    async move {
        let head = match exchange.expect_head().await {
            Ok(Some(head)) => head,
            Ok(None) => return Next::Cut { reset: false },
            Err(fault) => return Box::pin(exchange.refuse(fault)).await,
        };
        // What is rare is boxed, so that the common way stays small.
        match exchange.plan(head) {
            Ok(Plan::Forward(mut forward)) => exchange.forward(&mut forward).await,
            Ok(Plan::Connect(cluster)) => Box::pin(exchange.connect(cluster)).await,
            Ok(Plan::Answered) => Box::pin(exchange.answer_locally()).await,
            Err(fault) => Box::pin(exchange.refuse(fault)).await,
        }
    }
}

/// What is to be done with a request.
enum Plan {
    /// The head for the upstream stands in `Exchange::out`.
    Forward(Forward),
    Connect(Rc<Cluster>),
    /// The answer, our own, stands in `Exchange::out`.
    Answered,
}

/// How much of the client's request has been taken from `Exchange::buffer`. What follows is a request only behind the whole
/// of it, so this decides whether a connection outlives a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// The head is taken, and of the body nothing.
    BeforeBody(Framing),
    /// Somewhere in the message, or it cannot be told where the message ends.
    Unknown,
    /// All of it is taken.
    AfterBody,
}

/// What forwarding must know of a request once its head is gone.
pub(super) struct Forward {
    pub cluster: Rc<Cluster>,
    /// The cluster's as they were when the exchange began: a reload in its course does not change half of it.
    pub options: Rc<ClusterOptions>,
    pub framing: Framing,
    pub kind: RequestKind,
    /// May be sent again (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    pub upgrade: bool,
    /// What its Connection names, where trailers may come.
    pub hop_by_hop: NamedFields,
}

impl Forward {
    /// Whether it may be sent on a connection that may turn out to be closed.
    pub fn may_repeat(&self) -> bool {
        self.idempotent && self.framing == Framing::None
    }
}

pub(super) struct Exchange<'c> {
    pub connection: &'c mut Connection,
    pub context: Rc<Context>,
    pub snapshot: Rc<Held>,
    pub options: Rc<Http1>,
    pub record: StreamRecord,
    /// What the client has sent and nobody has used yet.
    pub buffer: Option<Buffer>,
    /// The head on its way out.
    pub out: ScratchVec,
    pub to: To,
    pub position: Cell<Position>,
    pub is_connect: bool,
    /// The policy can only say what it thinks of the addresses that the host's name becomes.
    pub judges_addresses: bool,
    /// Whether the client has got a byte of the final answer.
    pub began: Cell<bool>,
}

impl<'c> Exchange<'c> {
    fn begin(connection: &'c mut Connection, buffer: Option<Buffer>) -> Self {
        let context = connection.context.clone();
        let record = StreamRecord::begin(context.next_request_id(), context.event_loop.scratch.lend());
        probes::stream_begin(context.worker, record.request_id, connection.stream.as_raw_fd());
        Exchange {
            snapshot: context.snapshot(),
            options: connection.listener.http1(),
            out: context.event_loop.scratch.lend(),
            to: To { minor_version: 1, is_head: false, keeps_alive: false },
            position: Cell::new(Position::Unknown),
            is_connect: false,
            judges_addresses: false,
            began: Cell::new(false),
            buffer,
            connection,
            context,
            record,
        }
    }

    /// Reads until a whole head is in the buffer; its length, or `None` when the client ended
    /// without a request.
    async fn expect_head(&mut self) -> Result<Option<usize>, Fault> {
        let mut scanner = HeadScanner::default();
        let mut started = false;
        let mut timed = false;
        loop {
            if let Some(held) = &mut self.buffer {
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
            let Connection { deadline, stream, .. } = &*self.connection;
            match deadline.limit(fill(stream, &mut self.buffer, &self.context.event_loop.buffers)).await {
                None if self.buffer.is_none() => {
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

    /// Reads the head in the buffer and decides: everything here is done without waiting.
    fn plan(&mut self, length: usize) -> Result<Plan, Fault> {
        let mut buffer = self.buffer.take();
        let plan = self.plan_for(&buffer.as_ref().map_or(&[][..], Buffer::bytes)[..length]);
        consume(&mut buffer, length);
        self.buffer = buffer;
        plan
    }

    fn plan_for(&mut self, head: &[u8]) -> Result<Plan, Fault> {
        self.connection.begin_request();
        self.record.heads_received = head.len() as u32;
        let context = self.context.clone();
        let mut fields = context.fields.borrow_mut();
        let options = self.options.clone();
        // Known before anything else of it is, since it decides what the bytes behind a refused head are.
        self.is_connect = head.starts_with(b"CONNECT ");
        let request = match Request::parse(head, &options, &mut fields) {
            Ok(request) => request,
            Err(refusal) => {
                // For the log, as far as it can be told.
                let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                let mut words = line.splitn(3, |&byte| byte == b' ');
                let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                self.record.set_request(method, &without_userinfo(target), 1);
                if options.override_stream_error_on_invalid_http_message
                    && refusal.leaves_framing_certain()
                    && let Some((framing, keeps_alive)) = Request::framing(head, &options, &mut fields)
                {
                    self.position.set(Position::BeforeBody(framing));
                    self.to.keeps_alive = keeps_alive && self.connection.may_go_on(&options);
                }
                return Err(Fault::Request(refusal));
            }
        };
        let shown = match request.target {
            Target::Origin => without_userinfo(request.target_text),
            _ => request.target_text.into(),
        };
        self.record.set_request(request.method, &shown, request.minor_version);
        self.to = To {
            minor_version: request.minor_version,
            is_head: request.method == b"HEAD",
            keeps_alive: request.keeps_alive(&options) && self.connection.may_go_on(&options),
        };
        self.position.set(Position::BeforeBody(request.framing));
        self.decide(&request)
    }

    fn decide(&mut self, request: &Request<'_>) -> Result<Plan, Fault> {
        let options = self.options.clone();
        if request.loops {
            return Err(Fault::Loop);
        }
        if request.counts_forwards() && request.max_forwards == Some(0) {
            return self.plan_answer(local::for_max_forwards(request), request);
        }
        match &request.target {
            Target::Absolute(_) if !self.options.allow_absolute_url => Err(Fault::Request(Refusal::AbsoluteUrlNotAllowed)),
            Target::Absolute(target) => self.plan_forward(request, target),
            Target::Authority(_) if request.framing != Framing::None => Err(Fault::Request(Refusal::BodyInConnect)),
            Target::Authority(authority) => {
                self.ask_policy(authority, request.method)?;
                self.admit_tunnel()?;
                Ok(Plan::Connect(self.choose_cluster(authority)?))
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
        if request.upgrade {
            self.admit_tunnel()?;
        }
        let cluster = self.choose_cluster(&target.authority)?;
        request.write_forwarded(target, &self.options, &mut self.out);
        Ok(Plan::Forward(Forward {
            options: cluster.options(),
            cluster,
            framing: request.framing,
            kind: if self.to.is_head { RequestKind::Head } else { RequestKind::Other },
            idempotent: matches!(request.method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"),
            upgrade: request.upgrade,
            hop_by_hop: if request.framing == Framing::Chunked { request.connection.named_fields() } else { NamedFields::default() },
        }))
    }

    fn plan_answer(&mut self, page: local::Page<'_>, request: &Request<'_>) -> Result<Plan, Fault> {
        self.record.quiet = page.quiet;
        let reply = page.into_reply(self.record.request_id);
        self.record.status = Some(reply.status);
        self.record.reason = reasons::LOCAL_PAGE.reason;
        let mut to = self.to;
        to.keeps_alive &= request.framing == Framing::None;
        self.to = to;
        reply.write(to, &self.options, &self.context.event_loop.clock.http_date(), &mut self.out);
        Ok(Plan::Answered)
    }

    fn admit_tunnel(&mut self) -> Result<(), Fault> {
        if !self.connection.account.begin_tunnel(self.snapshot.config.tunnel.max_per_client) {
            self.context.stats.tunnels_client_overflow.increment();
            return Err(Fault::ClientOverflow(Share::Tunnels));
        }
        Ok(())
    }

    fn choose_cluster(&mut self, authority: &Authority) -> Result<Rc<Cluster>, Fault> {
        let cluster = self.context.clusters.get(authority, self.connection.account.account())?;
        probes::stream_routed(self.record.request_id, cluster.label());
        self.record.cluster = Some(cluster.clone());
        Ok(cluster)
    }

    fn ask_policy(&mut self, authority: &Authority, method: &[u8]) -> Result<(), Fault> {
        let snapshot = self.snapshot.clone();
        let ask = Ask { client: self.connection.client.ip(), host: &authority.host, port: authority.port, method };
        let Some(verdict) = snapshot.policy.decide(&ask) else {
            self.judges_addresses = true;
            return Ok(());
        };
        self.record.set_rule(verdict.rule.unwrap_or(DEFAULT));
        if verdict.allowed {
            return Ok(());
        }
        self.context.stats.policy_denied.increment();
        self.record.set_destination(authority);
        Err(Fault::Denied)
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

pub(super) fn consume(buffer: &mut Option<Buffer>, count: usize) {
    if let Some(held) = buffer {
        held.consume(count);
        if held.is_empty() {
            *buffer = None;
        }
    }
}
