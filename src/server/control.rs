//! What the administrator asks for through the admin API.

use tokio::sync::oneshot;

use super::{Server, clusters_page};
use crate::admin::{Command, Format, Page, Reply, Request};
use crate::json;

/// What the main loop is to do next.
#[derive(Debug)]
pub(super) enum Control {
    Nothing,
    /// And tell whoever asked.
    Reload(Option<oneshot::Sender<Reply>>),
    TellStatus,
    CloseSurplus,
    ReopenLogs,
    CloseListeners,
    Stop,
}

impl Server {
    /// Answers a request, and says what it asked to be done.
    pub(super) fn answer(&self, request: Request) -> Control {
        let done = |text: &str| Ok(Page::Text(format!("{text}\n")));
        let (reply, control) = match request.command {
            Command::Reload => return Control::Reload(Some(request.reply)),
            Command::DrainListeners => (done("listeners are closing"), Control::CloseListeners),
            Command::Quit => (done("stopping"), Control::Stop),
            Command::ReopenLogs => (done("logs are being opened anew"), Control::ReopenLogs),
            Command::ShowListeners(format) => (Ok(self.show_listeners(format)), Control::Nothing),
            Command::ShowClusters(format) => (Ok(self.show_clusters(format)), Control::Nothing),
            Command::ShowConfig(Format::Text) => (Ok(Page::Text(self.config.to_toml())), Control::Nothing),
            Command::ShowConfig(Format::Json) => (Ok(Page::Json(self.config.to_json())), Control::Nothing),
        };
        // Whoever asked may have gone.
        let _ = request.reply.send(reply);
        control
    }

    fn show_listeners(&self, format: Format) -> Page {
        let listeners = self.listeners.list();
        match format {
            Format::Text => Page::Text(listeners.iter().map(|(name, address)| format!("{name}::{address}\n")).collect()),
            Format::Json => {
                let entries: Vec<String> = listeners
                    .iter()
                    .map(|(name, address)| {
                        format!("{{\"name\":{},\"local_address\":{}}}", json::string(name), json::string(&address.to_string()))
                    })
                    .collect();
                Page::Json(format!("{{\"listeners\":[{}]}}", entries.join(",")))
            }
        }
    }

    fn show_clusters(&self, format: Format) -> Page {
        let (clusters, hosts) = (self.clusters.views(), self.dns.hosts());
        match format {
            Format::Text => Page::Text(clusters_page::text(&clusters, &hosts)),
            Format::Json => Page::Json(clusters_page::json(&clusters, &hosts)),
        }
    }
}
