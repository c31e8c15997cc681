//! What a task wants to know, for whoever looks or answers: here, or at the replica that waits
//! for the task's result.

use std::sync::Arc;

use doorward_model::json::Value;
use doorward_model::shared::Unshared;

use super::asking::Asking;
use super::elsewhere;
use super::handle::Task;
use super::waiting::Waiting;
use crate::ask::evidence;
use crate::pipeline::Asked;
use crate::session::replicas::Tidings;

/// The questions of a task whose result is waited for.
pub(super) struct Asks {
    /// What replicas know the waiting by.
    name: String,
    open: Vec<Asking>,
    /// Where the answers go, if that is here.
    here: Option<Arc<Waiting>>,
}

impl Asks {
    pub(super) fn here(waiting: Arc<Waiting>) -> Self {
        Self { name: waiting.name.clone(), open: waiting.open(), here: Some(waiting) }
    }

    pub(super) fn elsewhere(name: String, open: Vec<Asking>) -> Self {
        Self { name, open, here: None }
    }

    /// The questions that wait for this client, as the members of `inputRequests`.
    pub(super) async fn shown(&self, asked: &Asked<'_>, task: &Task) -> String {
        let (mut out, mut has_new) = (String::new(), false);
        for one in self.open.iter().filter(|one| one.is_for(&asked.abilities)) {
            if self.is_answered(asked, one).await {
                continue;
            }
            one.show(&mut out);
            if self.is_new(asked, one).await {
                evidence::note_of(asked, &task.call, &task.server, &task.tool, &one.method, "asked");
                has_new = true;
            }
        }
        if has_new {
            self.renew(asked, task);
        }
        out
    }

    /// Hands a client's answers to the server, or to who does that; what it left out stays open.
    ///
    /// # Errors
    /// When the shared state is out of reach; what was taken is taken, and the rest can be
    /// brought again.
    pub(super) async fn answer(
        &self,
        asked: &Asked<'_>,
        task: &Task,
        responses: Value<'_>,
    ) -> Result<(), Unshared> {
        for one in &self.open {
            let Some(response) = responses.get(&one.key).filter(|response| response.is_object()) else {
                continue;
            };
            if self.take(asked, one, response.raw()).await? {
                let how = evidence::gist(response.raw());
                evidence::note_of(asked, &task.call, &task.server, &task.tool, &one.method, how);
            }
        }
        self.renew(asked, task);
        Ok(())
    }

    /// Whether this is the answer to a question, and not another that came earlier.
    async fn take(&self, asked: &Asked<'_>, one: &Asking, response: &str) -> Result<bool, Unshared> {
        let gateway = asked.gateway;
        let Some(waiting) = &self.here else {
            return elsewhere::answer(gateway, &self.name, one.number, response).await;
        };
        // Out of reach of the others, only this replica can have it answered.
        let is_first =
            !gateway.has_others || elsewhere::taken(gateway, &self.name, one.number).await.unwrap_or(true);
        Ok(is_first && waiting.answer(one.number, response))
    }

    async fn is_answered(&self, asked: &Asked<'_>, one: &Asking) -> bool {
        asked.gateway.has_others && elsewhere::is_answered(asked.gateway, &self.name, one.number).await
    }

    /// Whether nobody was shown this question before.
    async fn is_new(&self, asked: &Asked<'_>, one: &Asking) -> bool {
        self.here.as_ref().is_none_or(|waiting| waiting.is_new(one.number))
            && (!asked.gateway.has_others || elsewhere::is_new(asked.gateway, &self.name, one.number).await)
    }

    /// Somebody has been asked, or has answered: there is time again.
    fn renew(&self, asked: &Asked<'_>, task: &Task) {
        match &self.here {
            Some(_) => asked.gateway.awaited.renew(asked.gateway, &task.handle),
            None => asked.gateway.let_others_know(&task.handle, Tidings::Looked),
        }
    }
}
