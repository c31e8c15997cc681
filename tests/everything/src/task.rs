//! Tasks: calls that go on after they were answered.
//!
//! What a task is does not depend on the era. How it is shown, asked about and
//! answered is in `legacy/tasks.rs` and `modern/tasks.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::change::Change;
use crate::play::{Answers, Play, Question, Scene, Step};
use crate::rpc::Fault;
use crate::seal::unguessable;
use crate::server::Everything;

pub const DEFAULT_TTL: Duration = Duration::from_mins(10);
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A task.
pub struct Task {
    pub id: String,
    /// The session that made it; `None` if it was made without one.
    pub owner: Option<String>,
    pub created: String,
    pub ttl: Duration,
    born: Instant,
    now: watch::Sender<Now>,
    work: Mutex<Option<AbortHandle>>,
}

/// How a task is at the moment.
#[derive(Clone)]
pub struct Now {
    pub status: Status,
    pub updated: String,
    /// What has to be answered before it goes on.
    pub open: Vec<(&'static str, Question)>,
    answers: Answers,
    pub outcome: Option<Result<Value, Fault>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Working | Self::InputRequired)
    }
}

/// What a task does: a play that has got as far as wanting time.
pub struct Job {
    pub play: Play,
    pub arguments: Value,
    pub answers: Answers,
    pub capabilities: Value,
    pub time: Duration,
}

impl Task {
    pub fn now(&self) -> Now {
        self.now.borrow().clone()
    }

    /// Waits until something about it is as wanted.
    pub async fn wait_until(&self, wanted: impl FnMut(&Now) -> bool) -> Now {
        let mut watch = self.now.subscribe();
        let seen = watch.wait_for(wanted).await.map(|now| now.clone());
        seen.unwrap_or_else(|_| self.now())
    }

    /// Takes answers to open questions; others are ignored.
    pub fn answer(&self, server: &Everything, responses: &Answers) {
        self.update(server, |now| {
            let (answered, open): (Vec<_>, Vec<_>) =
                now.open.drain(..).partition(|(key, _)| responses.get(*key).is_some_and(Value::is_object));
            now.open = open;
            for (key, _) in &answered {
                now.answers.insert((*key).to_owned(), responses[*key].clone());
            }
            if now.open.is_empty() && now.status == Status::InputRequired {
                now.status = Status::Working;
            }
        });
    }

    /// Ends it, unless it has ended. Returns whether it was this that ended it.
    pub fn cancel(&self, server: &Everything) -> bool {
        if let Some(work) = lock(&self.work).take() {
            work.abort();
        }
        let mut cancelled = false;
        self.update(server, |now| {
            cancelled = !now.status.is_terminal();
            if cancelled {
                now.status = Status::Cancelled;
                now.open.clear();
            }
        });
        cancelled
    }

    fn update(&self, server: &Everything, change: impl FnOnce(&mut Now)) {
        let told = self.now.send_if_modified(|now| {
            let before = (now.status, now.open.len());
            change(now);
            now.updated = timestamp();
            before != (now.status, now.open.len())
        });
        if told {
            server.change(Change::Task(self.id.clone()));
        }
    }

    /// Plays on to the end.
    async fn run(&self, server: &Everything, job: Job) {
        tokio::time::sleep(job.time).await;
        loop {
            let answers = self.now().answers;
            let scene = Scene {
                arguments: &job.arguments,
                answers: &answers,
                capabilities: &job.capabilities,
                worked: true,
            };
            let outcome = match (job.play)(&scene) {
                Step::Ask(ask) => {
                    self.update(server, |now| {
                        now.open = ask.questions;
                        now.status = Status::InputRequired;
                    });
                    self.wait_until(|now| now.open.is_empty()).await;
                    continue;
                }
                Step::Work(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Step::Done(performance) => Ok(performance.result),
                Step::Fail(fault) => Err(fault),
            };
            return self.update(server, |now| {
                now.status = if outcome.is_ok() { Status::Completed } else { Status::Failed };
                now.outcome = Some(outcome);
            });
        }
    }
}

/// All tasks that have not expired, oldest first.
#[derive(Default)]
pub struct Tasks(Mutex<Vec<Arc<Task>>>);

impl Tasks {
    /// A task that has begun, and can be asked about from now on.
    pub fn begin(
        &self,
        server: &Arc<Everything>,
        owner: Option<String>,
        ttl: Duration,
        job: Job,
    ) -> Arc<Task> {
        let created = timestamp();
        let now = Now {
            status: Status::Working,
            updated: created.clone(),
            open: Vec::new(),
            answers: job.answers.clone(),
            outcome: None,
        };
        let task = Arc::new(Task {
            id: unguessable(),
            owner,
            created,
            ttl,
            born: Instant::now(),
            now: watch::Sender::new(now),
            work: Mutex::new(None),
        });
        lock(&self.0).push(Arc::clone(&task));
        let (server, runner) = (Arc::clone(server), Arc::clone(&task));
        let work = tokio::spawn(async move { runner.run(&server, job).await });
        *lock(&task.work) = Some(work.abort_handle());
        task
    }

    /// A task of this owner.
    pub fn find(&self, owner: Option<&str>, id: &str) -> Option<Arc<Task>> {
        self.of(owner).into_iter().find(|task| task.id == id)
    }

    pub fn of(&self, owner: Option<&str>) -> Vec<Arc<Task>> {
        let mut tasks = lock(&self.0);
        tasks.retain(|task| task.born.elapsed() < task.ttl);
        tasks.iter().filter(|task| task.owner.as_deref() == owner).map(Arc::clone).collect()
    }
}

/// The guarded value; a panic elsewhere does not make it worse.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second, milli) = time.as_hms_milli();
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", date.year())
}

/// Questions as a map, the way the modern era shows them.
pub fn as_map(questions: &[(&'static str, Question)]) -> Value {
    let entry = |(key, question): &(&'static str, Question)| {
        ((*key).to_owned(), serde_json::json!({"method": question.method, "params": question.params}))
    };
    questions.iter().map(entry).collect::<BTreeMap<_, _>>().into_iter().collect()
}
