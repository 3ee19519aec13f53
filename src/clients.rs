//! What each client has of what all share, over all workers: connections, tunnels, destinations, look-ups.
//!
//! A client has one [`Account`], found by its [`ClientKey`] when a connection is accepted, and shared from then on by whatever
//! counts against it. The table is locked at accept, and when a client's last place is given back; requests to clusters that stand
//! never touch it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Who counts as one client: an IPv4 address, or an IPv6 network of 64 bits, within which a host may take any address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientKey {
    V4(Ipv4Addr),
    /// The upper half.
    V6(u64),
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => ClientKey::V4(address),
            IpAddr::V6(address) => ClientKey::V6((u128::from(address) >> 64) as u64),
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientKey::V4(address) => address.fmt(f),
            ClientKey::V6(upper) => write!(f, "{}/64", Ipv6Addr::from(u128::from(*upper) << 64)),
        }
    }
}

/// What a client may have only so many of, beside connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    Tunnels,
    Destinations,
    LookUps,
}

/// All clients that have something now.
pub struct Clients {
    shards: [Mutex<Shard>; SHARDS],
    /// Keyed per process, so that nobody can choose addresses that collide.
    hasher: RandomState,
    /// When the log was last told of a client that has too many connections.
    told: Mutex<Option<Instant>>,
}

/// The log hears of clients with too many connections no more often than this.
const SILENCE: Duration = Duration::from_secs(30);

/// Workers accept at the same time; so few of them seldom meet at one of so many.
const SHARDS: usize = 16;

type Shard = HashMap<ClientKey, Weak<Account>, RandomState>;

impl Clients {
    pub fn new() -> Arc<Self> {
        let hasher = RandomState::default();
        Arc::new(Clients {
            shards: std::array::from_fn(|_| Mutex::new(Shard::with_hasher(hasher.clone()))),
            hasher,
            told: Mutex::default(),
        })
    }

    /// A place for one more connection of a client.
    ///
    /// # Errors
    /// When the client has `max` connections already.
    pub fn connect(self: &Arc<Self>, key: ClientKey, max: usize) -> Result<Client, ClientFull> {
        let account = self.account(key);
        if increment_within(&account.connections, max) { Ok(Client { account, has_tunnel: false }) } else { Err(ClientFull) }
    }

    /// Whether the log is to hear of a client that has too many connections, which it then has.
    pub fn is_worth_telling(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| told.elapsed() > SILENCE);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }

    fn account(self: &Arc<Self>, key: ClientKey) -> Arc<Account> {
        let made = || Arc::new(Account::new(key, self.clone()));
        match self.shard(key).entry(key) {
            Entry::Occupied(mut known) => known.get().upgrade().unwrap_or_else(|| {
                // Its last holder has gone and is on its way to remove it.
                let account = made();
                known.insert(Arc::downgrade(&account));
                account
            }),
            Entry::Vacant(place) => {
                let account = made();
                place.insert(Arc::downgrade(&account));
                account
            }
        }
    }

    /// How many clients have something now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: ClientKey) -> MutexGuard<'_, Shard> {
        // Not the bits by which the shard's own table goes.
        lock(&self.shards[(self.hasher.hash_one(key) >> 32) as usize % SHARDS])
    }
}

/// As many connections as a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFull;

/// What one client has. It ends with the last thing that counts against it.
pub struct Account {
    key: ClientKey,
    clients: Arc<Clients>,
    connections: AtomicUsize,
    tunnels: AtomicUsize,
    destinations: AtomicUsize,
    look_ups: AtomicUsize,
}

impl Account {
    fn new(key: ClientKey, clients: Arc<Clients>) -> Self {
        let [connections, tunnels, destinations, look_ups] = std::array::from_fn(|_| AtomicUsize::new(0));
        Account { key, clients, connections, tunnels, destinations, look_ups }
    }

    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// How much of `share` the client has; others may change it at the same time.
    pub fn has(&self, share: Share) -> usize {
        self.count(share).load(Ordering::Relaxed)
    }

    /// Takes one of `share` unless the client has `max`, for as long as the permit lives.
    pub fn take(self: &Arc<Self>, share: Share, max: usize) -> Option<Permit> {
        increment_within(self.count(share), max).then(|| Permit { account: self.clone(), share })
    }

    fn count(&self, share: Share) -> &AtomicUsize {
        match share {
            Share::Tunnels => &self.tunnels,
            Share::Destinations => &self.destinations,
            Share::LookUps => &self.look_ups,
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut shard = self.clients.shard(self.key);
        // A connection that came in between may have put another account in its place.
        if let Entry::Occupied(known) = shard.entry(self.key)
            && std::ptr::eq(known.get().as_ptr(), self)
        {
            known.remove();
        }
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
            let room = shard.len() * 2;
            shard.shrink_to(room);
        }
    }
}

/// A client's connection, as its account knows it.
pub struct Client {
    account: Arc<Account>,
    has_tunnel: bool,
}

impl Client {
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Has the connection count among the tunnels of its client, unless there are `max`, until
    /// [`end_tunnel`](Self::end_tunnel) or its end. A flag and no [`Permit`], for which an idle connection has no room.
    pub fn begin_tunnel(&mut self, max: usize) -> bool {
        self.has_tunnel = self.has_tunnel || increment_within(&self.account.tunnels, max);
        self.has_tunnel
    }

    pub fn end_tunnel(&mut self) {
        if std::mem::take(&mut self.has_tunnel) {
            self.account.tunnels.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end_tunnel();
        self.account.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of a client's shares, given back when it is dropped.
pub struct Permit {
    account: Arc<Account>,
    share: Share,
}

impl Permit {
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account.count(self.share).fetch_sub(1, Ordering::Relaxed);
    }
}

fn increment_within(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
}

/// Nothing under the lock leaves a shard half changed.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ClientKey {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ipv6_clients_are_networks_and_mapped_ones_are_ipv4() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8:1:2:3::4").to_string(), "2001:db8:1:2::/64");
        assert_eq!(key("::ffff:192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn an_account_lasts_as_long_as_anything_counts_against_it() {
        let clients = Clients::new();
        let connections = [clients.connect(key("192.0.2.1"), 2).unwrap(), clients.connect(key("::ffff:192.0.2.1"), 2).unwrap()];
        assert_eq!(clients.connect(key("192.0.2.1"), 2).err(), Some(ClientFull));
        let other = clients.connect(key("192.0.2.2"), 2).unwrap();
        assert_eq!(clients.len(), 2);
        let destination = connections[0].account().take(Share::Destinations, 1).unwrap();
        drop(connections);
        assert_eq!(clients.len(), 2);
        // Whoever comes back finds what it left behind.
        let again = clients.connect(key("192.0.2.1"), 1).unwrap();
        assert!(again.account().take(Share::Destinations, 1).is_none() && again.account().take(Share::Tunnels, 1).is_some());
        assert_eq!((again.account().has(Share::Destinations), again.account().has(Share::Tunnels)), (1, 0));
        let mut tunnel = again;
        assert!(tunnel.begin_tunnel(1) && tunnel.begin_tunnel(1) && tunnel.account().take(Share::Tunnels, 1).is_none());
        tunnel.end_tunnel();
        tunnel.end_tunnel();
        assert!(tunnel.begin_tunnel(1));
        let account = tunnel.account().clone();
        drop(tunnel);
        assert_eq!(account.has(Share::Tunnels), 0);
        drop((destination, account, other));
        assert!(clients.is_empty());
    }

    #[test]
    fn clients_that_come_and_go_on_many_threads_leave_nothing() {
        let clients = Clients::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20_000u32 {
                        let key = ClientKey::V4(Ipv4Addr::from(number % 3));
                        let client = clients.connect(key, 4).expect("no more than one of each thread");
                        assert_eq!(client.account().key(), key);
                        drop(client.account().take(Share::LookUps, 4).expect("as above"));
                    }
                });
            }
        });
        assert!(clients.is_empty());
    }
}
