//! When answers come, last and go.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::server::{Rule, answer, texts};
use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_lasts_for_its_ttl() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    let host = scene.host("www.example");
    assert!(host.answer().is_none());
    host.resolve(None).await.unwrap();
    scene.server.answer("www.example", 60, &["192.0.2.2"]);
    scene.after(seconds(40)).await;
    assert_eq!(addresses(host.answer()), Some(ips(&["192.0.2.1"])));
    scene.after(seconds(21)).await;
    assert!(host.answer().is_none(), "nobody used it, so nobody refreshed it");
    assert_eq!(scene.attempts(), 1);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.2"])));
    assert_eq!(scene.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn ttl_zero_is_looked_up_for_every_stream_unless_there_is_a_least_rate() {
    let scene = Scene::with(|settings| settings.min_refresh_rate = Duration::ZERO).await;
    scene.server.answer("www.example", 0, &["192.0.2.1"]);
    for look_up in 1..=5 {
        assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
        assert_eq!(scene.attempts(), look_up);
    }
    let scene = Scene::new().await;
    scene.server.answer("www.example", 0, &["192.0.2.1"]);
    for _ in 0..5 {
        assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
    }
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn nxdomain_then_success() {
    let scene = Scene::new().await;
    assert_eq!(scene.resolve("www.example").await, Err(Error::NotFound));
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    assert_eq!(scene.resolve("www.example").await, Err(Error::NotFound), "a failure is remembered");
    assert_eq!(scene.attempts(), 1);
    scene.after(seconds(2)).await;
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_serves_while_the_server_fails_and_no_longer_than_max_stale() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    let host = scene.host("www.example");
    host.resolve(None).await.unwrap();
    scene.server.both("www.example", Rule::Code(ResponseCode::ServFail));
    for _ in 0..10 {
        scene.after(seconds(65)).await;
        assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
        assert!(host.answer().is_some());
    }
    assert_eq!(host.generation(), 1);
    assert!(scene.directory.stats().stale_served.get() >= 5);
    scene.after(seconds(20)).await;
    assert_eq!(scene.resolve("www.example").await, Err(Error::ServerFailure));
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    scene.after(seconds(3)).await;
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
}

#[tokio::test(start_paused = true)]
async fn nxdomain_ends_an_old_answer_at_once() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    let host = scene.host("www.example");
    host.resolve(None).await.unwrap();
    scene.server.both("www.example", Rule::Code(ResponseCode::NXDomain));
    scene.after(seconds(61)).await;
    assert_eq!(scene.resolve("www.example").await, Err(Error::NotFound));
    assert!(host.answer().is_none());
    assert_eq!(host.generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_and_questions_are_sent_again() {
    let scene = Scene::new().await;
    scene.server.both("www.example", Rule::Silent);
    let host = scene.host("www.example");
    let waiting = tokio::spawn(async move { host.resolve(None).await.map(drop) });
    scene.until(|scene| scene.server.asked("www.example") == 1).await;
    scene.after(Duration::from_millis(1001)).await;
    scene.until(|scene| scene.server.asked("www.example") == 2).await;
    assert!(!waiting.is_finished());
    scene.after(seconds(4)).await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error == Error::Timeout && error.is_timeout());
    assert_eq!(scene.directory.stats().query_timeout.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_in_use_is_refreshed_ahead_of_expiry() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    let host = scene.host("www.example");
    host.resolve(None).await.unwrap();
    host.touch();
    scene.server.answer("www.example", 60, &["192.0.2.2"]);
    scene.after(seconds(49)).await;
    assert_eq!(scene.attempts(), 1);
    scene.after(seconds(2)).await;
    scene.until(|scene| scene.directory.stats().query_success.get() == 2).await;
    assert_eq!(addresses(host.answer()), Some(ips(&["192.0.2.2"])));
    assert_eq!(host.generation(), 2);
    // Not touched since: it is let go.
    scene.after(seconds(55)).await;
    assert_eq!(scene.attempts(), 2);
    // A use in the last part of its life asks by itself, and gets the old answer meanwhile.
    scene.server.both("www.example", Rule::Silent);
    host.touch();
    assert_eq!(addresses(host.answer()), Some(ips(&["192.0.2.2"])));
    scene.until(|scene| scene.attempts() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn only_another_set_of_addresses_is_a_change() {
    let scene = Scene::new().await;
    let host = scene.host("www.example");
    for (addresses, generation) in [
        (["192.0.2.1", "192.0.2.2"].as_slice(), 1),
        (&["192.0.2.2", "192.0.2.1"], 1),
        (&["192.0.2.2"], 2),
        (&["192.0.2.2", "2001:db8::1"], 3),
    ] {
        scene.server.answer("www.example", 60, addresses);
        host.resolve(None).await.unwrap();
        assert_eq!(host.generation(), generation, "{addresses:?}");
        scene.after(seconds(61)).await;
    }
    assert_eq!(scene.directory.stats().host_address_changed.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn ipv4_goes_ahead_when_ipv6_is_late_and_ipv6_joins_it() {
    let scene = Scene::new().await;
    scene.server.rule("www.example", RecordType::A, answer(60, &["192.0.2.1"]));
    scene.server.rule("www.example", RecordType::AAAA, Rule::Late(seconds(2), texts(&["2001:db8::1"])));
    let host = scene.host("www.example");
    let waiter = host.clone();
    let waiting = tokio::spawn(async move { addresses(waiter.resolve(None).await.ok()) });
    scene.until(|scene| scene.server.asked_in_all() == 2).await;
    // The delay starts when the first answer is read.
    scene.after(Duration::ZERO).await;
    scene.after(Duration::from_millis(40)).await;
    assert!(!waiting.is_finished());
    scene.after(Duration::from_millis(20)).await;
    assert_eq!(waiting.await.unwrap(), Some(ips(&["192.0.2.1"])));
    scene.after(seconds(2)).await;
    scene.until(|scene| scene.directory.stats().query_success.get() == 1).await;
    assert_eq!(addresses(host.answer()), Some(ips(&["2001:db8::1", "192.0.2.1"])));
    assert_eq!(host.generation(), 2);
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_hosts_are_dropped_unless_held_or_preresolved() {
    let scene = Scene::with(|settings| settings.preresolve_hostnames = vec!["pre.example".to_owned()]).await;
    scene.server.answer("*", 100, &["192.0.2.1"]);
    scene.until(|scene| scene.directory.stats().query_success.get() == 1).await;
    let held = scene.host("held.example");
    held.resolve(None).await.unwrap();
    scene.resolve("idle.example").await.unwrap();
    drop(scene.host("never-asked.example"));
    assert_eq!(scene.directory.stats().num_hosts.get(), 4);
    for _ in 0..7 {
        scene.after(seconds(100)).await;
    }
    let names: Vec<String> = scene.directory.hosts().iter().map(|view| view.name.to_string()).collect();
    assert_eq!(names, ["held.example", "pre.example"]);
    assert!(scene.server.asked("pre.example") >= 7);
    assert_eq!(scene.server.asked("held.example"), 1);

    let mut settings = scene.settings.clone();
    settings.preresolve_hostnames.clear();
    scene.directory.reconfigure(&settings);
    drop(held);
    for _ in 0..7 {
        scene.after(seconds(100)).await;
    }
    assert_eq!(scene.directory.stats().num_hosts.get(), 0);
    assert_eq!(scene.directory.stats().host_removed.get(), 4);
}
