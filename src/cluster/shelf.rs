//! The clusters of one worker, where they are found, and where room is made.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashTable;

use super::{Cluster, Standing};
use crate::clients::Account;
use crate::codec::authority::Authority;
use crate::eviction::Sampler;

/// Found by authority; and, to make room, drawn from all or from those that were made for one client. Nothing but a sweep
/// looks at all of them, and that by parts.
#[derive(Default)]
pub(super) struct Shelf {
    /// In no order.
    clusters: Vec<Rc<Cluster>>,
    /// Where each authority's cluster is in `clusters`.
    places: HashTable<u32>,
    /// Those made for each client, by the address of its account, which they keep alive.
    of_clients: HashMap<*const Account, Vec<Rc<Cluster>>, foldhash::fast::RandomState>,
    /// Keyed afresh per worker, so that nobody can choose names that collide.
    hasher: foldhash::fast::RandomState,
    sampler: Sampler,
}

impl Shelf {
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rc<Cluster>> {
        self.clusters.iter()
    }

    pub fn find(&self, authority: &Authority) -> Option<&Rc<Cluster>> {
        let hash = self.hasher.hash_one(authority);
        let place = self.places.find(hash, |&place| self.clusters[place as usize].authority == *authority)?;
        Some(&self.clusters[*place as usize])
    }

    /// Adds a cluster whose authority is not here yet.
    pub fn insert(&mut self, cluster: Rc<Cluster>) {
        let Shelf { clusters, places, of_clients, hasher, .. } = self;
        let mut standing = Standing { hash: hasher.hash_one(cluster.authority), place: clusters.len() as u32, place_of_client: 0 };
        if let Some(client) = cluster.shared.payer() {
            let of_client = of_clients.entry(Arc::as_ptr(client)).or_default();
            standing.place_of_client = of_client.len() as u32;
            of_client.push(cluster.clone());
        }
        cluster.standing.set(standing);
        clusters.push(cluster);
        places.insert_unique(standing.hash, standing.place, |&place| clusters[place as usize].standing.get().hash);
    }

    /// Drops a cluster that is not in use and was used longer ago than most, if one is found soon.
    pub fn drop_unused(&mut self) -> bool {
        let chosen = self.sampler.choose(&self.clusters, last_use);
        chosen.map(|place| self.remove(place)).is_some()
    }

    /// Does the same among those made for a client.
    pub fn drop_unused_of(&mut self, client: &Arc<Account>) -> bool {
        let Some(of_client) = self.of_clients.get(&Arc::as_ptr(client)) else { return false };
        let chosen = self.sampler.choose(of_client, last_use);
        let place = chosen.map(|index| of_client[index].standing.get().place as usize);
        place.map(|place| self.remove(place)).is_some()
    }

    /// Drops those of a part that are neither in use nor to be kept.
    pub fn retain(&mut self, part: Range<usize>, mut keep: impl FnMut(&Cluster) -> bool) {
        // From the end, so that what takes a dropped one's place has been looked at.
        for place in part.rev() {
            let cluster = &self.clusters[place];
            if !keep(cluster) && last_use(cluster).is_some() {
                self.remove(place);
            }
        }
    }

    /// Gives back memory that a crowd has left.
    pub fn shrink(&mut self) {
        let Shelf { clusters, places, .. } = self;
        if clusters.is_empty() {
            (*clusters, *places) = Default::default();
        } else if clusters.capacity() > 64 && clusters.len() < clusters.capacity() / 4 {
            clusters.shrink_to(clusters.len() * 2);
            places.shrink_to(clusters.len() * 2, |&place| clusters[place as usize].standing.get().hash);
        }
    }

    fn remove(&mut self, place: usize) {
        let Shelf { clusters, places, of_clients, .. } = self;
        let cluster = clusters.swap_remove(place);
        let standing = cluster.standing.get();
        if let Ok(entry) = places.find_entry(standing.hash, |&known| known == standing.place) {
            entry.remove();
        }
        if let Some(moved) = clusters.get(place) {
            let old = moved.standing.get();
            if let Some(known) = places.find_mut(old.hash, |&known| known == old.place) {
                *known = standing.place;
            }
            moved.standing.set(Standing { place: standing.place, ..old });
        }
        let client = cluster.shared.payer().map(Arc::as_ptr);
        if let Some(client) = client
            && let Some(of_client) = of_clients.get_mut(&client)
        {
            let index = standing.place_of_client;
            of_client.swap_remove(index as usize);
            if let Some(moved) = of_client.get(index as usize) {
                moved.standing.set(Standing { place_of_client: index, ..moved.standing.get() });
            } else if of_client.is_empty() {
                of_clients.remove(&client);
            }
        }
    }
}

/// When a cluster was used last, in uses of all; nothing while it is in use.
fn last_use(cluster: &Rc<Cluster>) -> Option<u64> {
    let held_here = 1 + usize::from(cluster.shared.payer().is_some());
    (Rc::strong_count(cluster) == held_here).then(|| cluster.last_use.get())
}
