use std::time::{Duration, Instant};

use crate::kit::{Origin, Proxy, Script, ScriptedOrigin};
use crate::{OK, fetch, reason_of, shown};

fn proxy(cluster: &str) -> Proxy {
    Proxy::builder().cluster(cluster).start()
}

/// A free port that nobody listens on, until somebody does.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Whatever the client goes on sending.
#[test]
fn a_try_that_is_still_sending_ends_in_time() {
    let proxy = proxy("per_try_timeout = \"200ms\"");
    let origin = Origin::listen();
    let mut client = proxy.client();
    client.send(format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 1000000\r\n\r\n", origin.authority()));
    let mut upstream = origin.accept();
    upstream.expect_head();
    while client.peek().0.is_empty() {
        client.send_if_open("x");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let reply = client.expect_response();
    assert_eq!(reply.head.status(), 504, "{:?}", reply.head);
    assert!(reply.head.start_line().contains("per_try_timeout"), "{:?}", reply.head);
    assert!(reply.head.lists("connection", "close"), "nobody knows where its next request begins: {:?}", reply.head);
}

#[test]
fn a_fresh_connection_that_ends_early() {
    let ends = || Script::new().request();
    let origin = ScriptedOrigin::start([ends(), ends(), ends().reply(OK)]);
    let proxy = proxy("retry_on = [\"reset\"]\nnum_retries = 2");
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    // The client has its answer a moment before the stream has ended.
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    assert_eq!(shown(&proxy, &origin.authority(), "upstream_rq_retry"), "2");
    assert_eq!(shown(&proxy, &origin.authority(), "upstream_rq_retry_success"), "1");
    assert_eq!(shown(&proxy, &origin.authority(), "upstream_rq_retry_active"), "0");
    let origin = ScriptedOrigin::start([ends()]);
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 502);
    assert_eq!(origin.connections(), 3);
}

#[test]
fn an_origin_that_comes_up_late() {
    let port = free_port();
    let proxy = proxy("retry_on = [\"connect-failure\"]\nnum_retries = 50\nretry_back_off = { base = \"100ms\", max = \"100ms\" }");
    let late = std::thread::spawn(move || {
        use std::io::{Read, Write};
        std::thread::sleep(Duration::from_millis(300));
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("still free");
        let (mut stream, _) = listener.accept().expect("called");
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(OK.as_bytes()).expect("open");
    });
    // What is sent only once the connection stands may be a POST.
    let post = format!("POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(proxy.client().send(post).expect_response().head.status(), 200);
    late.join().expect("no panic");
    let dead = free_port();
    let proxy = self::proxy("retry_on = [\"connect-failure\"]\nnum_retries = 3");
    assert_eq!(fetch(&proxy, &format!("127.0.0.1:{dead}")).head.status(), 502);
    assert_eq!(shown(&proxy, &format!("127.0.0.1:{dead}"), "upstream_cx_connect_fail"), "4");
}

#[test]
fn a_try_that_takes_too_long() {
    let origin = ScriptedOrigin::start([Script::new().request().stall(), Script::always(OK)]);
    let proxy = proxy("per_try_timeout = \"200ms\"");
    let started = Instant::now();
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    let elapsed = started.elapsed().as_millis();
    assert!((195..5000).contains(&elapsed), "{elapsed} ms");
    assert_eq!(shown(&proxy, &origin.authority(), "upstream_rq_per_try_timeout"), "1");
    let silent = ScriptedOrigin::start([Script::new().request().stall()]);
    assert_eq!(fetch(&proxy, &silent.authority()).head.status(), 504);
    assert_eq!((reason_of(&proxy, 504).as_str(), silent.connections()), ("per_try_timeout", 2));
}

#[test]
fn retries_have_a_limit() {
    let origin = ScriptedOrigin::start([Script::new().request()]);
    let limited = proxy("retry_on = [\"reset\"]\nmax_retries = 0");
    assert_eq!(fetch(&limited, &origin.authority()).head.status(), 503);
    assert_eq!(reason_of(&limited, 503), "retries_overflow");
    assert_eq!(shown(&limited, &origin.authority(), "upstream_rq_retry_overflow"), "1");
    let budget = proxy("retry_on = [\"reset\"]\nmax_retries = 0\nretry_budget = { budget_percent = 20, min_retry_concurrency = 1 }");
    assert_eq!(fetch(&budget, &origin.authority()).head.status(), 502);
    assert_eq!(shown(&budget, &origin.authority(), "default_priority::max_retries"), "1");
}
