//! What replicas tell each other about sessions, and what they keep for each other.
//!
//! A session is open for as long as its entry stands in the shared state. A replica that
//! knows a session serves it from memory and asks nobody; one that does not looks there.
//! Whoever ends a session takes the entry away and leaves a mark that it ended, so that no
//! other replica, which may not have heard, writes it anew.
//!
//! When the shared state was lost or emptied, each replica writes again what it knows.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use doorward_model::endings::EndedSession;
use doorward_model::json::Document;
use doorward_model::shared::Unshared;
use doorward_model::{ServerId, Timestamp};
use doorward_wire::log::Level;

use super::Session;
use super::ended::number;
use crate::ask::elsewhere;
use crate::catalogs;
use crate::gateway::Gateway;

/// An entry outlives the idleness of its session by this, so that whoever sweeps finds it.
const SLACK: Duration = Duration::from_secs(120);

/// What one replica tells the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tidings<'a> {
    /// Something was said on a stream of this session.
    Said,
    /// It has ended.
    Ended,
    /// Its end was heard of.
    Farewell,
    /// Its request of this id, as written, is cancelled.
    Cancelled(&'a str),
    /// Its client answered the question with this id, as written.
    Answered(&'a str, Bytes),
    /// Its log level is another.
    Level(&'a str),
    /// This stream of its is read elsewhere now.
    Read(&'a str),
    /// This resource is watched for it elsewhere now, or by nobody.
    Unwatched(&'a str),
    /// The client of the suspended call of this name (in the place of a session) came back.
    Brought,
    /// There is something new about that call.
    Worded,
    /// Nobody waits for it any more, or for the task with this handle.
    Dropped,
    /// Somebody looked at what the task with this handle (in the place of a session) wants to
    /// know, or answered it.
    Looked,
    /// The lists of this server (which stands in the place of a session) changed.
    Lists,
}

impl<'a> Tidings<'a> {
    /// As it travels: from whom, what, of which session, about what; a line each.
    fn write(&self, from: &str, session: &str) -> Bytes {
        let (mark, about, rest): (_, &str, &[u8]) = match self {
            Self::Said => ('s', "", b""),
            Self::Ended => ('e', "", b""),
            Self::Farewell => ('f', "", b""),
            Self::Cancelled(id) => ('c', id, b""),
            Self::Answered(id, answer) => ('a', id, answer),
            Self::Level(level) => ('l', level, b""),
            Self::Read(stream) => ('r', stream, b""),
            // Last, since nobody knows what a URI holds.
            Self::Unwatched(uri) => ('u', "", uri.as_bytes()),
            Self::Brought => ('b', "", b""),
            Self::Worded => ('w', "", b""),
            Self::Dropped => ('d', "", b""),
            Self::Looked => ('t', "", b""),
            Self::Lists => ('x', "", b""),
        };
        let mut out = BytesMut::new();
        out.put_slice(format!("{from}\n{mark}\n{session}\n{about}\n").as_bytes());
        out.put_slice(rest);
        out.freeze()
    }

    /// Reads it: from whom, of which session, what.
    fn read(told: &'a Bytes) -> Option<(&'a str, &'a str, Self)> {
        let mut parts = told.splitn(5, |byte| *byte == b'\n');
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let (from, mark, session, about) = (text()?, text()?, text()?, text()?);
        let tidings = match mark {
            "s" => Self::Said,
            "e" => Self::Ended,
            "f" => Self::Farewell,
            "c" => Self::Cancelled(about),
            "a" => Self::Answered(about, told.slice_ref(parts.next()?)),
            "l" => Self::Level(about),
            "r" => Self::Read(about),
            "u" => Self::Unwatched(std::str::from_utf8(parts.next()?).ok()?),
            "b" => Self::Brought,
            "w" => Self::Worded,
            "d" => Self::Dropped,
            "t" => Self::Looked,
            "x" => Self::Lists,
            _ => return None,
        };
        Some((from, session, tidings))
    }
}

/// What is kept of a session: when it was last used, and its log level.
fn kept(session: &Session, now: Timestamp) -> Bytes {
    let level = session.log_level().map_or("", Level::as_str);
    Bytes::from(format!("{}\n{level}", now.as_micros()))
}

fn read_kept(entry: &Bytes) -> Option<(Timestamp, Option<Level>)> {
    let (used, level) = std::str::from_utf8(entry).ok()?.split_once('\n')?;
    Some((Timestamp::from_micros(used.parse().ok()?), Level::parse(level)))
}

fn place(id: &str) -> String {
    format!("session/{id}")
}

fn end_mark(id: &str) -> String {
    format!("ended/{id}")
}

/// Listens to the other replicas for as long as the gateway lives.
pub(crate) fn listen(gateway: &Arc<Gateway>) {
    if !gateway.has_others {
        return;
    }
    let (weak, runtime) = (Arc::downgrade(gateway), tokio::runtime::Handle::current());
    gateway.shared.hear(Box::new(move |told| {
        let Some(gateway) = Weak::upgrade(&weak) else { return };
        if told.is_empty() {
            runtime.spawn(async move { gateway.write_again().await });
        } else if let Some((from, session, tidings)) = Tidings::read(&told)
            && *from != *gateway.replica
        {
            let _in_it = runtime.enter();
            gateway.heard(session, tidings);
        }
    }));
}

impl Gateway {
    /// Tells the other replicas.
    pub(crate) async fn tell_others(&self, session: &str, tidings: Tidings<'_>) -> Result<(), Unshared> {
        if !self.has_others {
            return Ok(());
        }
        self.shared.tell(tidings.write(&self.replica, session)).await.map(drop)
    }

    /// The same, where there is nothing to be done if they cannot be reached.
    pub(crate) fn let_others_know(self: &Arc<Self>, session: &str, tidings: Tidings<'_>) {
        if !self.has_others {
            return;
        }
        let (gateway, message) = (Arc::clone(self), tidings.write(&self.replica, session));
        tokio::spawn(async move {
            if let Err(error) = gateway.shared.tell(message).await {
                tracing::warn!(target: "doorward::session", %error, "the other replicas were not told");
            }
        });
    }

    fn heard(self: &Arc<Self>, session: &str, tidings: Tidings<'_>) {
        match tidings {
            Tidings::Brought => {
                tokio::spawn(elsewhere::go_on(Arc::clone(self), session.to_owned()));
                return;
            }
            Tidings::Worded => return self.suspended.heard_of(session),
            Tidings::Dropped => {
                self.suspended.end(session);
                return self.awaited.end(session);
            }
            Tidings::Looked => return self.awaited.heard_of(self, session),
            Tidings::Lists => {
                if let Ok(server) = ServerId::try_from(session) {
                    catalogs::is_stale(self, &server);
                }
                return;
            }
            Tidings::Ended => {
                if let Some(session) = self.sessions.get(session)
                    && self.sessions.close(&session)
                {
                    self.clear_away(&session);
                }
                return self.let_others_know(session, Tidings::Farewell);
            }
            Tidings::Farewell => return self.farewells.heard(session),
            _ => {}
        }
        let Some(session) = self.sessions.get(session) else { return };
        match tidings {
            Tidings::Said => session.wake.notify_waiters(),
            Tidings::Cancelled(id) => drop(session.cancel(id)),
            Tidings::Answered(id, answer) => {
                if let Ok(answer) = Document::parse(answer, &self.settings.json) {
                    session.questions.answered(id, answer);
                }
            }
            Tidings::Level(level) => {
                if let Some(level) = Level::parse(level) {
                    session.set_log_level(level);
                }
            }
            Tidings::Read(stream) => session.taken_over(stream),
            Tidings::Unwatched(uri) => session.news.unsubscribe(uri),
            Tidings::Ended
            | Tidings::Farewell
            | Tidings::Brought
            | Tidings::Worded
            | Tidings::Dropped
            | Tidings::Looked
            | Tidings::Lists => {}
        }
    }

    /// Writes down that a session is open, in use, and what has been settled in it.
    pub(crate) async fn write_down(&self, session: &Session) {
        if !self.has_others {
            return;
        }
        let (entry, keep) = (kept(session, self.clock.now()), self.settings.sessions.idle + SLACK);
        if let Err(error) = self.shared.set(&place(&session.id), Some(entry), keep).await {
            tracing::warn!(target: "doorward::session", %error, "a session is known to this replica only");
        }
    }

    /// Whether another replica has this session open; brings it up to date then.
    pub(super) async fn look_up(&self, session: &Session) -> Result<bool, Unshared> {
        if !self.has_others {
            return Ok(true);
        }
        let Some(entry) = self.shared.get(&place(&session.id)).await? else { return Ok(false) };
        if self.shared.get(&end_mark(&session.id)).await?.is_some() {
            return Ok(false);
        }
        if let Some((_, Some(level))) = read_kept(&entry) {
            session.set_log_level(level);
        }
        Ok(true)
    }

    /// Takes away what is kept of a session, and says so; the other replicas have heard of it
    /// then.
    pub(super) async fn write_off(&self, session: &Session) {
        self.note_end(session).await;
        if !self.has_others {
            return;
        }
        let (id, keep) = (&session.id, self.settings.sessions.longest);
        let ended = async {
            self.shared.set(&end_mark(id), Some(Bytes::from_static(b"1")), keep).await?;
            self.shared.set(&place(id), None, keep).await?;
            let farewell = self.farewells.begin(id);
            let listeners = self.shared.tell(Tidings::Ended.write(&self.replica, id)).await?;
            farewell.heard_by(listeners.saturating_sub(1)).await;
            Ok::<_, Unshared>(())
        };
        if let Err(error) = ended.await {
            tracing::warn!(target: "doorward::session", %error, session = %id, "its end is known to this replica only");
            self.sessions.must_be_written_off(id);
        }
    }

    /// Writes down for the next process that a session has ended, where no others know it.
    async fn note_end(&self, session: &Session) {
        let Some(endings) = self.endings.clone() else { return };
        let ended = EndedSession { opened: session.opened, id: number(&session.id) };
        // Off the threads that serve: it is written to a file.
        let noted = tokio::task::spawn_blocking(move || endings.note(ended)).await;
        let noted = noted.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = noted {
            tracing::warn!(target: "doorward::session", %error, session = %session.id, "its end is known to this process only");
        }
    }

    /// Whether a session that is idle here is in use elsewhere.
    pub(super) async fn is_used_elsewhere(&self, session: &Session) -> bool {
        let Ok(Some(entry)) = self.shared.get(&place(&session.id)).await else { return false };
        let idle = self.settings.sessions.idle;
        read_kept(&entry).is_some_and(|(used, _)| used.plus(idle) >= self.clock.now())
    }

    /// Writes everything again, after the shared state was out of reach or emptied; what
    /// ended meanwhile ends here.
    async fn write_again(self: &Arc<Self>) {
        for id in self.sessions.to_write_off() {
            let keep = self.settings.sessions.longest;
            let mark = self.shared.set(&end_mark(&id), Some(Bytes::from_static(b"1")), keep).await;
            if mark.is_err() || self.shared.set(&place(&id), None, keep).await.is_err() {
                self.sessions.must_be_written_off(&id);
            }
        }
        for session in self.sessions.all() {
            match self.shared.get(&end_mark(&session.id)).await {
                Ok(Some(_)) => {
                    if self.sessions.close(&session) {
                        self.clear_away(&session);
                    }
                }
                Ok(None) => self.write_down(&session).await,
                Err(_) => return,
            }
            session.wake.notify_waiters();
        }
    }

    /// How far what belongs to no request has been read, by whomever.
    pub(super) async fn read_to(&self, session: &Session) -> u64 {
        if self.has_others
            && let Ok(Some(read)) = self.shared.get(&format!("read/{}", session.id)).await
            && let Some(read) = std::str::from_utf8(&read).ok().and_then(|read| read.parse().ok())
        {
            session.read_to.fetch_max(read, Ordering::AcqRel);
        }
        session.read_to.load(Ordering::Acquire)
    }

    /// Notes how far it has been read.
    pub(super) async fn note_read(&self, session: &Session, place: u64) {
        session.read_to.fetch_max(place, Ordering::AcqRel);
        if self.has_others {
            let (value, keep) = (Bytes::from(place.to_string()), self.settings.sessions.idle + SLACK);
            // Lost, it is told once more.
            let _ = self.shared.set(&format!("read/{}", session.id), Some(value), keep).await;
        }
    }

    /// Whether a session has been told of a change by another replica, which sees it too.
    pub(super) async fn is_known_already(&self, session: &Session, topic: &str, state: &str) -> bool {
        if !self.has_others {
            return false;
        }
        let place = format!("told/{}/{topic}", session.id);
        let (state, keep) = (Bytes::copy_from_slice(state.as_bytes()), self.settings.sessions.idle + SLACK);
        // Twice is better than never.
        self.shared.set(&place, Some(state.clone()), keep).await.is_ok_and(|before| before == Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let answer = Bytes::from_static(b"{\"id\":\"q\",\n\"result\":{}}");
        let all = [
            Tidings::Said,
            Tidings::Ended,
            Tidings::Farewell,
            Tidings::Cancelled("\"7\""),
            Tidings::Answered("\"q-a-1\"", answer),
            Tidings::Level("debug"),
            Tidings::Read("0"),
            Tidings::Unwatched("odd://a\nb"),
            Tidings::Brought,
            Tidings::Worded,
            Tidings::Dropped,
            Tidings::Looked,
            Tidings::Lists,
        ];
        for tidings in all {
            let told = tidings.write("me", "0123");
            assert_eq!(Tidings::read(&told), Some(("me", "0123", tidings)));
        }
        for nonsense in ["", "me", "me\nz\nid\n\n", "me\ns\n"] {
            assert_eq!(Tidings::read(&Bytes::from(nonsense)), None, "{nonsense:?}");
        }
    }
}
