//! Many at once, too many, and those who leave.

use super::server::Rule;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_first_requests_make_one_look_up() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1"]);
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let host = scene.host("www.example");
            tokio::spawn(async move { addresses(host.resolve(None).await.ok()) })
        })
        .collect();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Some(ips(&["192.0.2.1"])));
    }
    assert_eq!((scene.attempts(), scene.server.asked_in_all()), (1, 2));
    assert_eq!(scene.directory.stats().pending.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_makes_room() {
    let scene = Scene::with(|settings| settings.max_hosts = 3).await;
    scene.server.answer("*", 60, &["192.0.2.1"]);
    for text in ["a.example", "b.example", "c.example"] {
        scene.resolve(text).await.unwrap();
        scene.after(seconds(1)).await;
    }
    let held = scene.host("b.example");
    scene.host("a.example").touch();
    scene.after(seconds(1)).await;
    drop(scene.host("d.example"));
    let names = |scene: &Scene| scene.directory.hosts().iter().map(|view| view.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&scene), ["a.example", "b.example", "d.example"]);
    scene.after(seconds(1)).await;
    let (first, second) = (scene.host("e.example"), scene.host("f.example"));
    assert_eq!(names(&scene), ["b.example", "e.example", "f.example"]);
    assert_eq!(scene.directory.host(&name("g.example")).unwrap_err(), Error::Overflow);
    assert_eq!(scene.directory.stats().host_overflow.get(), 1);
    assert_eq!(scene.directory.stats().num_hosts.get(), 3);
    drop((held, first, second));
    scene.host("g.example");
}

#[tokio::test(start_paused = true)]
async fn waiters_have_a_limit_and_a_place_is_given_back() {
    let scene = Scene::with(|settings| settings.max_pending_requests = 2).await;
    scene.server.both("slow.example", Rule::Silent);
    scene.server.both("slow2.example", Rule::Silent);
    let wait = |text: &str| {
        let host = scene.host(text);
        tokio::spawn(async move { host.resolve(None).await.map(drop) })
    };
    let waiting = [wait("slow.example"), wait("slow2.example")];
    scene.until(|scene| scene.directory.stats().pending.get() == 2).await;
    assert_eq!(scene.resolve("slow.example").await, Err(Error::PendingOverflow));
    assert_eq!(scene.resolve("third.example").await, Err(Error::PendingOverflow));
    assert_eq!(scene.directory.stats().pending_overflow.get(), 2);
    for waiting in waiting {
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
    }
    assert_eq!(scene.directory.stats().pending.get(), 0);
    assert_eq!(scene.directory.hosts().iter().map(|view| view.waiters).sum::<u32>(), 0);
    assert_eq!(scene.resolve("third.example").await, Err(Error::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_outlives_the_one_who_asked_first() {
    let scene = Scene::new().await;
    scene.server.both("www.example", Rule::Late(seconds(1), super::server::texts(&["192.0.2.1"])));
    let host = scene.host("www.example");
    let (first, second) = (host.clone(), host.clone());
    let first = tokio::spawn(async move { first.resolve(None).await.map(drop) });
    scene.until(|scene| scene.server.asked_in_all() == 2).await;
    let second = tokio::spawn(async move { addresses(second.resolve(None).await.ok()) });
    first.abort();
    scene.after(seconds(1)).await;
    assert_eq!(second.await.unwrap(), Some(ips(&["192.0.2.1"])));
    assert_eq!(scene.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_names_leave_nothing_behind() {
    let scene = Scene::new().await;
    scene.server.answer("*", 60, &["192.0.2.1"]);
    let mut first = None;
    for round in 0..100 {
        let round: Vec<_> = (0..100)
            .map(|index| {
                let host = scene.host(&format!("host-{index}.round-{round}.example"));
                tokio::spawn(async move { addresses(host.resolve(None).await.ok()) })
            })
            .collect();
        first.get_or_insert_with(|| Arc::downgrade(&scene.host("host-0.round-0.example")));
        for waiting in round {
            assert_eq!(waiting.await.unwrap(), Some(ips(&["192.0.2.1"])));
        }
        assert!(scene.directory.table().hosts().len() <= 1024);
    }
    let stats = scene.directory.stats();
    assert_eq!((stats.host_added.get(), stats.num_hosts.get()), (10_000, 1024));
    assert!(first.unwrap().upgrade().is_none());
    assert!(scene.directory.table().footprint() <= 2 * 1024);
    scene.after(seconds(301)).await;
    scene.after(seconds(1)).await;
    assert_eq!(stats.num_hosts.get(), 0);
    assert_eq!(scene.directory.table().footprint(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_the_driver_ends_is_told() {
    let scene = Scene::new().await;
    scene.server.both("www.example", Rule::Silent);
    let host = scene.host("www.example");
    let waiting = tokio::spawn(async move { host.resolve(None).await.map(drop) });
    scene.until(|scene| scene.server.asked("www.example") == 1).await;
    scene.driver.abort();
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(scene.resolve("other.example").await, Err(Error::Stopped));
}

#[test]
fn workers_on_other_threads_share_one_look_up() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let main = runtime();
    let (server, directory) = main.block_on(async {
        let server = Server::start().await;
        server.answer("*", 60, &["192.0.2.1"]);
        let (directory, driver) = Driver::new(&config::Dns { servers: vec![DnsServer::Udp(server.address)], ..settings() });
        tokio::spawn(driver.run());
        (server, directory)
    });
    let (done, ended) = tokio::sync::oneshot::channel();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let directory = directory.clone();
            std::thread::spawn(move || {
                runtime().block_on(async {
                    for index in 0..200 {
                        let host = directory.host(&name(&format!("host-{index}.example"))).unwrap();
                        assert_eq!(addresses(host.resolve(None).await.ok()), Some(ips(&["192.0.2.1"])));
                        host.touch();
                    }
                })
            })
        })
        .collect();
    let joiner = std::thread::spawn(move || {
        let all_well = workers.into_iter().all(|worker| worker.join().is_ok());
        let _ = done.send(all_well);
    });
    assert!(main.block_on(ended).unwrap());
    joiner.join().unwrap();
    // The answer is stored before the generation moves, so only now is it sure to have moved, once.
    for index in 0..200 {
        assert_eq!(directory.host(&name(&format!("host-{index}.example"))).unwrap().generation(), 1);
    }
    assert_eq!(directory.stats().query_attempt.get(), 200);
    assert_eq!(server.asked_in_all(), 400);
}
