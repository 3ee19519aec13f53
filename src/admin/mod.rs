//! The admin API: what an administrator may ask the running proxy, and tell it, in Envoy's paths.
//!
//! It runs on the main thread, on a Unix socket, a loopback address or both. What it can do by itself (statistics, levels,
//! readiness) it does; for everything else it sends a [`Request`] to the server and passes the reply on, so that it needs to know
//! nothing of workers. Looking is GET, changing is POST.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{logging, stats};

mod guard;
mod listen;
mod pages;
mod routes;
mod serve;
mod stats_page;

pub use listen::{Admin, BindError};

/// What the API works with.
#[derive(Debug, Clone)]
pub struct Control {
    pub registry: Arc<stats::Registry>,
    pub logging: logging::Handle,
    pub requests: mpsc::Sender<Request>,
}

/// A command to the server, and where its reply goes.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    /// The API gives up after a few seconds; a reply that comes later is lost, which does no harm.
    pub reply: oneshot::Sender<Reply>,
}

/// What only the server can do or show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    DrainListeners,
    /// Drain, then exit.
    Quit,
    /// Put the configuration file in force; answered when it is on every worker, or with what is wrong with it.
    Reload,
    ReopenLogs,
    ShowListeners(Format),
    ShowClusters(Format),
    ShowConfig(Format),
}

/// What the reader would like; the server may answer in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// A page to show, or what went wrong, in words for people.
pub type Reply = Result<Page, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    Text(String),
    Json(String),
}
