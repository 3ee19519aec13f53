//! Many at once.

use crate::kit::{Proxy, Script, ScriptedOrigin};
use crate::{fetch, response};

/// Of each; two sockets for each of them lie in this process, and two more threads.
const MANY: usize = 300;

#[test]
fn keep_alive_clients_and_tunnels() {
    let web = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let echo = ScriptedOrigin::start([Script::echo()]);
    let proxy = Proxy::builder().with("server", "workers = 2").cluster("pool_idle_timeout = \"500ms\"").start();
    fetch(&mut proxy.client(), &web.authority(), "/");
    let mut tunnel = proxy.tunnel(&echo.authority());
    tunnel.send("x").expect("x").half_close();
    tunnel.expect_eof();
    drop(tunnel);
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    let descriptors = proxy.open_descriptors();

    let mut clients: Vec<_> = (0..MANY).map(|_| proxy.client()).collect();
    let mut tunnels: Vec<_> = (0..MANY).map(|_| proxy.tunnel(&echo.authority())).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(fetch(client, &web.authority(), "/"), b"hello");
        }
        for tunnel in &mut tunnels {
            tunnel.send("ping").expect("ping");
        }
    }
    assert_eq!(proxy.stats("http.downstream_cx_active"), 2 * MANY as u64);
    assert_eq!(proxy.stats("http.downstream_cx_upgrades_active"), MANY as u64);
    assert!(web.connections() <= 8, "one after the other they share a few: {}", web.connections());

    drop(clients);
    drop(tunnels);
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    proxy.wait_for_stat("http.downstream_cx_upgrades_active", |active| active == 0);
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    proxy.wait_for_descriptors(descriptors);
    echo.wait_for_open_connections(0);
}

/// Where it must grow while streams run, the kernel stops the thread that opens the descriptor too many.
#[test]
fn the_table_of_descriptors_is_there_from_the_start() {
    let (room, limit) = Proxy::start().descriptor_table();
    assert!(room >= limit.min(65_536), "room for {room} of {limit}");
}

/// Connections that come and go leave nothing.
#[test]
fn short_connections() {
    let origin = ScriptedOrigin::start([Script::new().request().reply(response(b"hello"))]);
    let proxy = Proxy::start();
    fetch(&mut proxy.client(), &origin.authority(), "/");
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    let (descriptors, memory) = (proxy.open_descriptors(), proxy.resident_memory());
    for _ in 0..1000 {
        fetch(&mut proxy.client(), &origin.authority(), "/");
    }
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    proxy.wait_for_descriptors(descriptors);
    let grown = proxy.resident_memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "1,000 connections left {grown} bytes");
}

/// What the allocator keeps after a crowd goes back to the system, though the workers are quiet.
#[test]
fn memory_of_a_crowd_is_given_back() {
    const HALF_HEAD: usize = 40 << 10;
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::builder().with("server", "workers = 2").start();
    fetch(&mut proxy.client(), &origin.authority(), "/");
    let memory = proxy.resident_memory();
    let mut head = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nX: ", origin.authority());
    head.extend(std::iter::repeat_n('x', HALF_HEAD));
    let clients: Vec<_> = (0..3 * MANY)
        .map(|_| {
            let mut client = proxy.client();
            client.send(&head);
            client
        })
        .collect();
    let held = (clients.len() * HALF_HEAD) as u64;
    proxy.wait_for_stat("server.memory_resident", |resident| resident > memory + held);
    drop(clients);
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    // Each worker keeps buffers of 2 MiB for whoever comes next, and what the last few have left.
    proxy.wait_for_memory(memory + held / 3);
    // And those who come later are served as before.
    fetch(&mut proxy.client(), &origin.authority(), "/");
}
