//! Ends that are our own: refusals, local pages, and streams that are cut.

use super::connection::Next;
use super::fault::{Fault, Shape};
use super::io::write_all;
use super::reply::FaultReply;
use super::stream::{Exchange, Position, consume};
use crate::codec::Refusal;
use crate::codec::framing::Framing;
use crate::drain::Phase;
use crate::upstream::count;

impl Exchange<'_> {
    /// Tells the client of a fault, as far as it has got nothing yet.
    pub(super) async fn refuse(&mut self, fault: Fault) -> Next {
        if matches!(fault, Fault::ClientGone) {
            return self.cut(fault);
        }
        let fault = if self.context.drain.phase() == Phase::Expired { Fault::DrainTimeout } else { fault };
        self.count(&fault);
        let shape = fault.shape();
        let shape = Shape { closes: shape.closes && !self.survives(&fault), ..shape };
        // What a client sends behind a CONNECT is meant for the tunnel, whether it came already or not, and is no request.
        self.to.keeps_alive &= self.skip_body() && !self.is_connect && !shape.closes;
        let detail = match fault {
            Fault::Denied => self.record.rule().to_owned(),
            Fault::AddressDenied { class, .. } => class.name().to_owned(),
            _ => String::new(),
        };
        let asked = if shape.status == 403 { self.record.asked() } else { String::new() };
        self.out.clear();
        let date = self.context.event_loop.clock.http_date();
        let reply = FaultReply { fault: &fault, shape: &shape, detail: &detail, asked: &asked, request_id: self.record.request_id };
        reply.write(self.to, &self.options, &date, &mut self.out);
        self.record.set_fault(&shape, Some(fault.explanation().into_owned()));
        self.record.status = Some(shape.status);
        self.send_out().await
    }

    pub(super) async fn answer_locally(&mut self) -> Next {
        self.to.keeps_alive &= self.skip_body();
        self.send_out().await
    }

    /// Sends what stands in `out`, and ends the exchange.
    async fn send_out(&mut self) -> Next {
        self.record.heads_sent.set(self.record.heads_sent.get() + self.out.len() as u32);
        self.connection.deadline.set(self.options.request_headers_timeout);
        let written = self.connection.deadline.limit(write_all(&self.connection.stream, &mut [std::io::IoSlice::new(&self.out)])).await;
        let keeps_alive = self.to.keeps_alive;
        self.record.finish(self.connection);
        match written {
            Some(Ok(())) if keeps_alive => Next::Request(self.buffer.take()),
            Some(Ok(())) => Next::Close,
            _ => Next::Cut { reset: true },
        }
    }

    /// Ends a stream whose client has got a part of the answer, or went away.
    pub(super) fn cut(&mut self, fault: Fault) -> Next {
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
            Fault::ResponseTimeout | Fault::ResponseHeadTimeout => {
                if let Some(cluster) = &self.record.cluster {
                    count!(cluster.counts(), upstream_rq_timeout);
                }
            }
            _ => {}
        }
    }

    /// Drops a body that nobody is going to read, when all of it is here. Whether what follows is the next request; the
    /// connection cannot be used again otherwise.
    fn skip_body(&mut self) -> bool {
        match (self.position.get(), &self.buffer) {
            (Position::AfterBody | Position::BeforeBody(Framing::None), _) => true,
            (Position::BeforeBody(Framing::Length(length)), Some(held)) if length <= held.bytes().len() as u64 => {
                consume(&mut self.buffer, length as usize);
                self.position.set(Position::AfterBody);
                true
            }
            _ => false,
        }
    }
}
