//! What is known about one name, as a value: each look-up that ends makes the next [`State`] from the one before.
//!
//! Nothing here reads a clock or waits, so that the rules of time can be read, and tested, in one place.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, order};
use crate::codec::authority::Name;
use crate::config;

/// The addresses of a name.
#[derive(Debug, Clone)]
pub struct Answer {
    /// In the order to try; never empty.
    pub addresses: Vec<IpAddr>,
    pub resolved_at: Instant,
    /// From here on it is looked up anew when a stream wants it, or before that for a host in use.
    pub expires_at: Instant,
    /// When a host in use is looked up ahead of expiry, off the way of streams.
    pub(super) refresh_at: Instant,
    /// The full name, where a search domain completed the one that was asked for.
    pub full_name: Option<Arc<Name>>,
    v4: Slot,
    v6: Slot,
}

/// One family's part of an answer. It has a limit of its own, so that a family whose look-ups keep failing while the other's
/// succeed is not carried along for ever.
#[derive(Debug, Clone)]
struct Slot {
    addresses: Vec<IpAddr>,
    stale_until: Instant,
}

/// The last look-up failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Until then it is the answer, and nobody asks again.
    pub(super) until: Instant,
}

/// Published whole, so that a reader on another thread never sees half of a change.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Look-ups that have ended; one who waits knows by it that the look-up he joined is over, however short its answer lives.
    pub(super) serial: u64,
    /// The last good answer.
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) failure: Option<Failure>,
}

/// What the state means at an instant.
#[derive(Debug)]
pub(super) enum Standing<'a> {
    /// Use it; and if `refresh_due`, have it looked up in the background.
    InForce {
        answer: &'a Arc<Answer>,
        refresh_due: bool,
    },
    Failed(Error),
    /// Only a look-up can tell.
    Unknown,
}

/// How far one family has come in a look-up.
#[derive(Debug, Clone, Default)]
pub(super) enum Reply {
    #[default]
    NotAsked,
    Pending,
    Ended(Result<Records, Error>),
}

/// Addresses of one family, never empty, with the least time to live on the way to them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Records {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) time_to_live: Duration,
}

/// Both families of one look-up.
#[derive(Debug, Clone, Default)]
pub(super) struct Replies {
    pub(super) v4: Reply,
    pub(super) v6: Reply,
    /// The name that was asked for, where a search domain has made it another.
    pub(super) name: Option<Arc<Name>>,
}

impl State {
    pub(super) fn standing(&self, now: Instant) -> Standing<'_> {
        match (&self.answer, &self.failure) {
            (Some(answer), None) if now < answer.expires_at => Standing::InForce { answer, refresh_due: now >= answer.refresh_at },
            (Some(answer), Some(failure)) if now < answer.stale_until() => Standing::InForce { answer, refresh_due: now >= failure.until },
            (_, Some(failure)) if now < failure.until => Standing::Failed(failure.error),
            _ => Standing::Unknown,
        }
    }

    /// The outcome for those who waited for the look-up that has just ended, even if it may not be kept for others.
    pub(super) fn outcome(&self, now: Instant) -> Result<Arc<Answer>, Error> {
        match (&self.answer, &self.failure) {
            (Some(answer), None) => Ok(answer.clone()),
            (Some(answer), Some(_)) if now < answer.stale_until() => Ok(answer.clone()),
            (_, Some(failure)) => Err(failure.error),
            (None, None) => Err(Error::ServerFailure),
        }
    }

    /// The state after a look-up, and whether the set of addresses is another than before.
    pub(super) fn after(&self, replies: Replies, now: Instant, settings: &config::Dns) -> (State, bool) {
        let serial = self.serial + 1;
        match Answer::merge(self.answer.as_deref(), replies, now, settings) {
            Ok(answer) => {
                let changed = !self.answer.as_ref().is_some_and(|before| order::same_set(&before.addresses, &answer.addresses));
                (State { serial, answer: Some(Arc::new(answer)), failure: None }, changed)
            }
            Err(error) => {
                let failure = Some(Failure { error, until: now + settings.failure_refresh_rate });
                let kept = self.answer.clone().filter(|answer| !error.is_authoritative() && now < answer.stale_until());
                let changed = self.answer.is_some() && kept.is_none();
                (State { serial, answer: kept, failure }, changed)
            }
        }
    }

    /// When it should be looked up again without being asked for, if `in_use`.
    pub(super) fn refresh_at(&self) -> Option<Instant> {
        match (&self.answer, &self.failure) {
            (Some(answer), None) => Some(answer.refresh_at),
            (Some(_), Some(failure)) => Some(failure.until),
            (None, _) => None,
        }
    }
}

impl Answer {
    fn merge(before: Option<&Answer>, replies: Replies, now: Instant, settings: &config::Dns) -> Result<Answer, Error> {
        let mut time_to_live: Option<Duration> = None;
        let mut complete = true;
        for reply in [&replies.v4, &replies.v6] {
            match reply {
                Reply::Ended(Ok(records)) => {
                    time_to_live = Some(time_to_live.map_or(records.time_to_live, |least| least.min(records.time_to_live)));
                }
                Reply::Ended(Err(error)) if error.is_authoritative() => {}
                Reply::NotAsked => {}
                Reply::Pending | Reply::Ended(Err(_)) => complete = false,
            }
        }
        let Some(time_to_live) = time_to_live else { return Err(replies.error()) };
        let mut life = time_to_live.max(settings.min_refresh_rate).min(settings.max_refresh_rate);
        if !complete {
            // Half an answer is good enough to go on with, not to rest on.
            life = life.min(settings.failure_refresh_rate.max(SHORTEST_LIFE));
        }
        let stale_until = now + life + settings.max_stale;
        let slot = |reply: Reply, before: Option<&Slot>| match reply {
            Reply::Ended(Ok(records)) => Slot { addresses: records.addresses, stale_until },
            Reply::Pending | Reply::Ended(Err(_)) if !reply.is_authoritative() => match before {
                Some(before) if now < before.stale_until => before.clone(),
                _ => Slot { addresses: Vec::new(), stale_until: now },
            },
            _ => Slot { addresses: Vec::new(), stale_until: now },
        };
        // What another name had is not this one's.
        let before = before.filter(|answer| answer.full_name == replies.name);
        let v4 = slot(replies.v4, before.map(|answer| &answer.v4));
        let v6 = slot(replies.v6, before.map(|answer| &answer.v6));
        Ok(Answer {
            addresses: order::interleave(settings.lookup_family, &v4.addresses, &v6.addresses),
            resolved_at: now,
            expires_at: now + life,
            // Early enough for a slow resolver, late enough not to waste the life of a short answer.
            refresh_at: now + life - (life / 5).min(2 * settings.query_timeout),
            full_name: replies.name,
            v4,
            v6,
        })
    }

    /// How long it may be served while the resolver fails.
    pub(super) fn stale_until(&self) -> Instant {
        self.v4.stale_until.max(self.v6.stale_until)
    }
}

/// Least time between look-ups of a name one family of which fails, whatever `failure_refresh_rate` says.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

impl Reply {
    fn is_authoritative(&self) -> bool {
        matches!(self, Reply::Ended(Err(error)) if error.is_authoritative())
    }
}

impl Replies {
    /// A look-up that ended before anything was asked.
    pub(super) fn failed(error: Error) -> Replies {
        Replies { v4: Reply::Ended(Err(error)), v6: Reply::Ended(Err(error)), name: None }
    }

    /// Whether there is any address.
    pub(super) fn outcome(&self) -> Result<(), Error> {
        let is_found = |reply: &Reply| matches!(reply, Reply::Ended(Ok(_)));
        if is_found(&self.v4) || is_found(&self.v6) { Ok(()) } else { Err(self.error()) }
    }

    /// Why there is no address at all. One family that could not be looked up outweighs the other that has none.
    fn error(&self) -> Error {
        let errors = [&self.v4, &self.v6].into_iter().filter_map(|reply| match reply {
            Reply::Ended(Err(error)) => Some(*error),
            Reply::Pending => Some(Error::Timeout),
            Reply::Ended(Ok(_)) | Reply::NotAsked => None,
        });
        errors
            .max_by_key(|error| match error {
                Error::NotFound => 0,
                Error::NoAddresses => 1,
                Error::Timeout => 2,
                _ => 3,
            })
            .unwrap_or(Error::ServerFailure)
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
