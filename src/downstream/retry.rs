//! Whether a request that failed is sent again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::fault::Fault;
use crate::cluster::{Cluster, RetryPermit};
use crate::config::ClusterOptions;
use crate::upstream::{back_off, count};

/// The tries of one request.
#[derive(Default)]
pub(super) struct Tries {
    /// Retries made because `retry_on` asks for them.
    made: u32,
    /// A kept connection had been closed by the time that it was used.
    was_stale: bool,
    permit: Option<RetryPermit>,
}

/// How a try ended.
pub(super) struct Failure<'f> {
    pub fault: &'f Fault,
    /// On a connection that had been kept.
    pub reused: bool,
    /// May be sent twice (RFC 9110 section 9.2.2), can be had again, and nothing of an answer came.
    pub repeatable: bool,
}

impl Tries {
    /// How long to wait before the next try; `None` when there is none.
    ///
    /// # Errors
    /// When there should be one, and too many retries run already.
    pub fn after(&mut self, failure: &Failure<'_>, cluster: &Cluster, options: &ClusterOptions) -> Result<Option<Duration>, Fault> {
        let counts = cluster.counts();
        if matches!(failure.fault, Fault::PerTryTimeout) {
            counts.cluster.upstream_rq_per_try_timeout.increment();
        }
        let on = options.retry_on;
        let ended_early = failure.fault.is_safe_to_retry() && failure.repeatable;
        // The origin closed a kept connection just when we used it, and has not seen the request. So
        // this is no more work for it, and however many streams it happens to, none of them fails.
        let any = options.max_retries > 0 || options.retry_budget.is_some();
        if ended_early && failure.reused && on.reset_before_request && any && !self.was_stale {
            self.was_stale = true;
            count!(counts, upstream_rq_retry);
            return Ok(Some(Duration::ZERO));
        }
        let wanted = match failure.fault {
            Fault::ConnectFailed { .. } | Fault::ConnectTimeout => on.connect_failure,
            Fault::PerTryTimeout => failure.repeatable,
            _ => ended_early && on.reset,
        };
        if !wanted || u64::from(self.made) >= options.num_retries {
            return Ok(None);
        }
        if self.permit.is_none() {
            self.permit = Some(cluster.admit_retry()?);
        }
        count!(counts, upstream_rq_retry);
        let wait = back_off(self.made, options.retry_back_off.base, options.retry_back_off.max, RandomState::new().hash_one(self.made));
        self.made += 1;
        Ok(Some(wait))
    }

    /// An answer came.
    pub fn succeeded(&self, cluster: &Cluster) {
        if self.made > 0 || self.was_stale {
            count!(cluster.counts(), upstream_rq_retry_success);
        }
    }
}
