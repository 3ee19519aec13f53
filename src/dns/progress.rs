//! How far one look-up has come: both families, whoever asks for them and however.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::Name;
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::Error;
use super::entry::{Replies, Reply};
use super::message::{self, Family, Reading};
use crate::config::LookupFamily;

pub(super) struct Progress {
    tracks: Mutex<[Track; 2]>,
    /// IPv4 addresses are there and IPv6 is still open.
    half: Notify,
    lookup_family: LookupFamily,
}

/// One family's way through aliases and servers.
struct Track {
    reply: Reply,
    /// What to ask for next.
    name: Name,
    /// Least TTL of the aliases so far.
    time_to_live: Duration,
    aliases: u8,
    /// Of the last server that could not tell; it counts if no other can.
    error: Option<Error>,
}

pub(super) type Questions = SmallVec<[(Family, Name); 2]>;

/// How long IPv6 may be behind IPv4 before streams go ahead without it (RFC 8305 section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Names asked for in turn where a server leaves the following of aliases to us.
const MAX_ALIASES: u8 = 8;

impl Progress {
    pub(super) fn new(lookup_family: LookupFamily, name: &Name) -> Progress {
        let track = |asked: bool| Track {
            reply: if asked { Reply::Pending } else { Reply::NotAsked },
            name: name.clone(),
            time_to_live: Duration::MAX,
            aliases: 0,
            error: None,
        };
        let tracks = [track(lookup_family != LookupFamily::V6Only), track(lookup_family != LookupFamily::V4Only)];
        Progress { tracks: Mutex::new(tracks), half: Notify::new(), lookup_family }
    }

    /// What is still to be asked.
    pub(super) fn questions(&self) -> Questions {
        let tracks = self.tracks();
        let open = [Family::V4, Family::V6].into_iter().zip(tracks.iter()).filter(|(_, track)| matches!(track.reply, Reply::Pending));
        open.map(|(family, track)| (family, track.name.clone())).collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.tracks().iter().all(|track| !matches!(track.reply, Reply::Pending))
    }

    /// Takes a server's answer to the question now open.
    pub(super) fn answer(&self, family: Family, answer: &Message) {
        let mut tracks = self.tracks();
        let track = &mut tracks[family as usize];
        match message::read(answer, &track.name, family) {
            Reading::Ended(Ok(mut records)) => {
                records.time_to_live = records.time_to_live.min(track.time_to_live);
                track.reply = Reply::Ended(Ok(records));
            }
            Reading::Ended(Err(error)) if error.is_authoritative() => track.reply = Reply::Ended(Err(error)),
            Reading::Ended(Err(error)) => track.error = Some(error),
            Reading::Alias { target, time_to_live } if track.aliases < MAX_ALIASES => {
                track.name = target;
                track.time_to_live = track.time_to_live.min(time_to_live);
                track.aliases += 1;
            }
            Reading::Alias { .. } => track.error = Some(Error::ServerFailure),
        }
        if matches!((&tracks[0].reply, &tracks[1].reply), (Reply::Ended(Ok(_)), Reply::Pending)) {
            self.half.notify_one();
        }
    }

    /// A server could not be asked about one family, or about any that is open.
    pub(super) fn failed(&self, family: Option<Family>, error: Error) {
        let mut tracks = self.tracks();
        for (index, track) in tracks.iter_mut().enumerate() {
            if matches!(track.reply, Reply::Pending) && family.is_none_or(|family| family as usize == index) {
                track.error = Some(error);
            }
        }
    }

    /// When what is there should be handed out although the rest is still to come; perhaps never.
    pub(super) async fn early(&self) {
        match self.lookup_family {
            LookupFamily::Auto => {
                self.half.notified().await;
                tokio::time::sleep(RESOLUTION_DELAY).await;
            }
            LookupFamily::V4Preferred => self.half.notified().await,
            LookupFamily::All | LookupFamily::V4Only | LookupFamily::V6Only => std::future::pending().await,
        }
    }

    /// What is known now.
    pub(super) fn replies(&self) -> Replies {
        let tracks = self.tracks();
        Replies { v4: tracks[0].reply.clone(), v6: tracks[1].reply.clone(), name: None }
    }

    /// Ends the look-up: whatever is open has failed.
    pub(super) fn finish(&self) -> Replies {
        for track in self.tracks().iter_mut() {
            if matches!(track.reply, Reply::Pending) {
                track.reply = Reply::Ended(Err(track.error.unwrap_or(Error::Timeout)));
            }
        }
        self.replies()
    }

    fn tracks(&self) -> MutexGuard<'_, [Track; 2]> {
        self.tracks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
