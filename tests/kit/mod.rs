//! The kit for tests that run the real proxy: its process on port zero, raw bytes in, raw bytes out.
//!
//! ```ignore
//! let origin = Origin::listen();
//! let proxy = Proxy::builder().http1("enable_trailers = true").start();
//! let mut client = proxy.client();
//! client.send(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority()));
//! let mut upstream = origin.accept();
//! assert_eq!(upstream.expect_request().head.start_line(), "GET / HTTP/1.1");
//! upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
//! assert_eq!(client.expect_response().head.status(), 204);
//! ```
//!
//! A [`Peer`] is one end of a connection, the client's or the origin's; both speak the same
//! verbs. [`Origin`] is driven by the test step by step, [`ScriptedOrigin`] serves by itself.
//! Everything that waits does so until [`DEADLINE`], which is only a limit for failures, and then
//! panics with what was sent and received.

#![allow(dead_code, reason = "each test binary uses its own part of the kit")]
#![allow(unused_imports, reason = "as above")]
#![allow(unreachable_pub, reason = "the kit is a module of each test binary, and reads better with `pub`")]
#![allow(clippy::disallowed_methods, reason = "a test blocks on purpose; there is no worker to stop")]

mod black_hole;
mod dns;
mod message;
mod namespace;
mod origin;
mod pattern;
mod peer;
mod proxy;
mod scripted;

use std::time::Duration;

pub use black_hole::BlackHole;
pub use dns::{Answer, DnsServer};
pub use message::{Head, Message, dump};
pub use namespace::{in_own_network, ip, mount};
pub use origin::Origin;
pub use peer::{End, Peer};
pub use proxy::{LogEntry, Proxy, ProxyBuilder, Signal};
pub use scripted::{Script, ScriptedOrigin};

/// How long anything may take before a test fails. No test waits for it to pass.
pub const DEADLINE: Duration = Duration::from_secs(10);
