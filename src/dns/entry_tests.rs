use super::*;
use crate::config::LookupFamily;

fn settings() -> config::Dns {
    config::Dns {
        servers: Vec::new(),
        lookup_family: LookupFamily::Auto,
        min_refresh_rate: seconds(5),
        max_refresh_rate: seconds(1000),
        failure_refresh_rate: seconds(2),
        query_timeout: seconds(5),
        host_ttl: seconds(300),
        max_hosts: 10,
        max_hosts_per_client: 10,
        max_pending_requests: 10,
        max_pending_requests_per_client: 10,
        max_stale: seconds(100),
        preresolve_hostnames: Vec::new(),
        use_search_domains: false,
        use_hosts_file: false,
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn found(address: &str, time_to_live: u64) -> Reply {
    Reply::Ended(Ok(Records { addresses: vec![address.parse().unwrap()], time_to_live: seconds(time_to_live) }))
}

fn error(error: Error) -> Reply {
    Reply::Ended(Err(error))
}

fn texts(state: &State) -> Vec<String> {
    state.answer.iter().flat_map(|answer| &answer.addresses).map(IpAddr::to_string).collect()
}

#[test]
fn the_least_ttl_within_bounds_is_the_life() {
    let now = Instant::now();
    for (v4, v6, life) in [(60, 30, 30), (0, 60, 5), (5000, 5000, 1000)] {
        let replies = Replies { v4: found("10.0.0.1", v4), v6: found("::1", v6), name: None };
        let (state, changed) = State::default().after(replies, now, &settings());
        let answer = state.answer.unwrap();
        assert!(changed);
        assert_eq!(answer.expires_at, now + seconds(life));
        assert_eq!(answer.refresh_at, now + seconds(life) - (seconds(life) / 5).min(seconds(10)));
        assert_eq!(answer.stale_until(), now + seconds(life) + seconds(100));
    }
}

#[test]
fn the_standing_of_a_state_over_time() {
    let now = Instant::now();
    let (state, _) =
        State::default().after(Replies { v4: found("10.0.0.1", 50), v6: error(Error::NoAddresses), name: None }, now, &settings());
    assert!(matches!(state.standing(now), Standing::InForce { refresh_due: false, .. }));
    assert!(matches!(state.standing(now + seconds(40)), Standing::InForce { refresh_due: true, .. }));
    assert!(matches!(state.standing(now + seconds(50)), Standing::Unknown));

    let failed_at = now + seconds(60);
    let (state, changed) = state.after(Replies::failed(Error::ServerFailure), failed_at, &settings());
    assert!(!changed);
    assert!(matches!(state.standing(failed_at), Standing::InForce { refresh_due: false, .. }));
    assert!(matches!(state.standing(failed_at + seconds(2)), Standing::InForce { refresh_due: true, .. }));
    assert!(matches!(state.standing(now + seconds(150)), Standing::Unknown));

    let (state, changed) = state.after(Replies::failed(Error::NotFound), failed_at, &settings());
    assert!(changed);
    assert!(matches!(state.standing(failed_at), Standing::Failed(Error::NotFound)));
    assert!(matches!(state.standing(failed_at + seconds(2)), Standing::Unknown));
    assert_eq!(state.serial, 3);
}

#[test]
fn a_family_that_fails_is_carried_along_but_not_for_ever() {
    let start = Instant::now();
    let (mut state, _) =
        State::default().after(Replies { v4: found("10.0.0.1", 50), v6: found("::1", 50), name: None }, start, &settings());
    for later in (0..150).step_by(2) {
        let replies = Replies { v4: found("10.0.0.1", 50), v6: error(Error::Timeout), name: None };
        let (next, changed) = state.after(replies, start + seconds(later), &settings());
        assert!(!changed);
        assert_eq!(texts(&next), ["::1", "10.0.0.1"]);
        assert_eq!(next.answer.as_ref().unwrap().expires_at, start + seconds(later + 2), "half an answer is soon looked up again");
        state = next;
    }
    let (next, changed) =
        state.after(Replies { v4: found("10.0.0.1", 50), v6: error(Error::Timeout), name: None }, start + seconds(150), &settings());
    assert!(changed);
    assert_eq!(texts(&next), ["10.0.0.1"]);

    let (gone, changed) = state.after(Replies { v4: found("10.0.0.1", 50), v6: error(Error::NoAddresses), name: None }, start, &settings());
    assert!(changed, "what the zone says counts at once");
    assert_eq!(texts(&gone), ["10.0.0.1"]);
}

#[test]
fn a_server_that_cannot_tell_outweighs_one_family_that_has_none() {
    for (v4, v6, expected) in [
        (Error::NotFound, Error::NotFound, Error::NotFound),
        (Error::NotFound, Error::NoAddresses, Error::NoAddresses),
        (Error::NotFound, Error::Timeout, Error::Timeout),
        (Error::ServerFailure, Error::Timeout, Error::ServerFailure),
    ] {
        assert_eq!(Replies { v4: error(v4), v6: error(v6), name: None }.outcome(), Err(expected));
        assert_eq!(Replies { v4: error(v6), v6: error(v4), name: None }.outcome(), Err(expected));
    }
    assert_eq!(Replies { v4: error(Error::NoAddresses), v6: Reply::NotAsked, name: None }.outcome(), Err(Error::NoAddresses));
}
