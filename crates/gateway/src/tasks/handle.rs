//! What the handle of a task stands for. All that is needed to find the task again travels
//! with the client, sealed.

use doorward_model::ServerId;
use doorward_upstream::Call;

use crate::handle;
use crate::pipeline::Asked;
use crate::stage::resolve::Resolved;

/// How a task's server speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The core tasks of 2025-11-25.
    Core,
    /// The extension of 2026-07-28.
    Extension,
    /// Not at all: it had answered when the client wanted a task.
    Local,
}

/// A task, as its sealed handle names it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub server: ServerId,
    pub tool: String,
    /// What the server calls it.
    pub id: String,
    pub form: Form,
    /// The call that became it, as records name it.
    pub call: String,
    /// A server with sessions knows it in the session that it was made in: whose that is,
    /// what its client could be asked, and over which link.
    pub affinity: String,
    pub capabilities: String,
    pub place: u64,
    /// What the client calls it.
    pub handle: String,
}

/// Stands for where this server is, as the request sees it; empty for one that is not there.
fn address<'a>(asked: &'a Asked<'_>, server: &ServerId) -> &'a str {
    asked.snapshot.registry.server(server.as_str()).map_or("", |server| &server.address)
}

impl Task {
    /// The task that a call became, under its server's name for it; one that is found from
    /// anywhere.
    pub(super) fn of(resolved: &Resolved<'_>, id: String, form: Form) -> Self {
        Self {
            server: resolved.server().id.clone(),
            tool: resolved.target().to_owned(),
            id,
            form,
            call: resolved.asked().call.to_string(),
            affinity: String::new(),
            capabilities: String::new(),
            place: 0,
            handle: String::new(),
        }
    }

    /// The same with its handle; `None` when it cannot be sealed.
    pub(super) fn sealed(mut self, asked: &Asked<'_>) -> Option<Self> {
        let form = match self.form {
            Form::Core => "core",
            Form::Extension => "extension",
            Form::Local => "local",
        };
        let place = self.place.to_string();
        let parts = [
            self.server.as_str(),
            &self.tool,
            &self.id,
            form,
            &self.call,
            &self.affinity,
            &self.capabilities,
            &place,
            address(asked, &self.server),
        ];
        self.handle = handle::seal(asked, "task", &parts)?;
        Some(self)
    }

    /// What a handle stands for, if it was sealed for this caller.
    pub(super) fn open(asked: &Asked<'_>, handle: &str) -> Option<Self> {
        let parts: [String; 9] = handle::open(asked, "task", handle)?.try_into().ok()?;
        let [server, tool, id, form, call, affinity, capabilities, place, address_then] = parts;
        let server = ServerId::try_from(server.as_str()).ok()?;
        let form = match form.as_str() {
            "core" => Form::Core,
            "extension" => Form::Extension,
            "local" => Form::Local,
            _ => return None,
        };
        // What is kept here is there whatever became of its server; every other task is known to
        // the server that made it, and to no other that was given its id.
        if form != Form::Local && address_then != address(asked, &server) {
            return None;
        }
        Some(Self {
            server,
            tool,
            id,
            form,
            call,
            affinity,
            capabilities,
            place: place.parse().ok()?,
            handle: handle.to_owned(),
        })
    }

    /// A request in the session that the task was made in.
    pub(super) fn request<'c>(&'c self, method: &'c str, client_info: &'c str, meta: &'c str) -> Call<'c> {
        Call {
            method,
            meta,
            target: Some(&self.id),
            affinity: &self.affinity,
            client_info,
            capabilities: &self.capabilities,
            task: (method == "tasks/result").then_some(&self.id),
            place: Some(self.place),
            ..Call::default()
        }
    }
}
