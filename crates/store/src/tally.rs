//! Counters on the disk of a process that is alone.
//!
//! One thread has the database. It takes whatever has been asked for meanwhile as one
//! transaction, and answers when that is on disk: so the calls of one moment share one sync,
//! and what was answered survives a kill and a power cut. What cannot be written was not
//! counted, and whoever asked is told so. Counters are known by digests of their names, which
//! may hold whatever a caller has sent, at any length.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::future::{Future, ready};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use doorward_model::counts::Counting;
use doorward_model::{Counted, Counter, Counts, Timestamp, Uncounted};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

/// Orders in one transaction.
const BATCH: usize = 256;
/// How often counters that are of no use any more are looked for.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// How long they are kept all the same: a clock may be put back. And whoever looks believes
/// the earlier of this look's time and the last one's, so that a clock which was wrong for a
/// moment costs nobody what was counted.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counters(
    name BLOB PRIMARY KEY, used INTEGER NOT NULL, ends INTEGER NOT NULL
) WITHOUT ROWID;
";

/// Keeps counters in a file.
pub struct Tally {
    path: PathBuf,
    orders: Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    Take(Vec<Counter>, Timestamp, oneshot::Sender<Result<Counted, Uncounted>>),
    GiveBack(Vec<Counter>, oneshot::Sender<()>),
    Close,
}

/// What an order came to, told once it is on disk.
enum Done {
    Took(oneshot::Sender<Result<Counted, Uncounted>>, Counted),
    GaveBack(oneshot::Sender<()>),
}

/// The open file.
struct Book {
    database: Connection,
    /// When it was last looked for what is of no use.
    swept: Timestamp,
}

impl Tally {
    /// Counters in the file at `path`, which is made when something is counted.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(path: PathBuf) -> std::io::Result<Self> {
        let (orders, ordered) = channel();
        let file = path.clone();
        let thread = thread::Builder::new().name("doorward-tally".to_owned());
        let thread = thread.spawn(move || work(&file, &ordered))?;
        Ok(Self { path, orders, thread: Mutex::new(Some(thread)) })
    }

    /// Whether the file can be used, found out by doing so.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        Book::open(&self.path).map(drop).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Finishes what was ordered; nothing is counted afterwards.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that has ended takes no orders, and needs none.
        let _ = self.orders.send(Order::Close);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(target: "doorward::store", "the thread that counts has panicked");
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}

impl Counts for Tally {
    fn take<'a>(&'a self, counters: &'a [Counter], now: Timestamp) -> Counting<'a> {
        let (told, answer) = oneshot::channel();
        let ordered = self.orders.send(Order::Take(counters.to_vec(), now, told));
        Box::pin(async move {
            ordered.map_err(|_| uncounted("it was closed"))?;
            answer.await.unwrap_or_else(|_| Err(uncounted("it was closed")))
        })
    }

    fn give_back(&self, counters: &[Counter]) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (told, done) = oneshot::channel();
        match self.orders.send(Order::GiveBack(counters.to_vec(), told)) {
            // Whoever ordered it is told even if it fails.
            Ok(()) => Box::pin(async move { drop(done.await) }),
            Err(_) => Box::pin(ready(())),
        }
    }
}

fn uncounted(cause: impl fmt::Display) -> Uncounted {
    Uncounted { what: "the counts cannot be written", cause: cause.to_string() }
}

fn work(path: &Path, orders: &Receiver<Order>) {
    let mut book = None;
    while let Ok(first) = orders.recv() {
        let mut is_last = false;
        let mut batch = Vec::new();
        for order in std::iter::once(first).chain(orders.try_iter().take(BATCH - 1)) {
            if matches!(order, Order::Close) {
                is_last = true;
                break;
            }
            batch.push(order);
        }
        serve(path, &mut book, batch);
        if is_last {
            return;
        }
    }
}

/// Carries out a batch and tells those who wait, once all of it is on disk or none is.
fn serve(path: &Path, book: &mut Option<Book>, batch: Vec<Order>) {
    let tried = match book {
        Some(book) => book.carry_out(&batch),
        None => Book::open(path).and_then(|opened| book.insert(opened).carry_out(&batch)),
    };
    match tried {
        Ok(counted) => {
            let mut counted = counted.into_iter();
            let done = batch.into_iter().filter_map(|order| match order {
                Order::Take(_, _, told) => Some(Done::Took(told, counted.next()?)),
                Order::GiveBack(_, told) => Some(Done::GaveBack(told)),
                Order::Close => None,
            });
            // Whoever has gone does not need to be told.
            done.for_each(|done| match done {
                Done::Took(told, counted) => drop(told.send(Ok(counted))),
                Done::GaveBack(told) => drop(told.send(())),
            });
        }
        Err(error) => {
            tracing::error!(target: "doorward::store", %error, path = %path.display(), "counts cannot be written");
            // Opened anew for the next batch; what was begun is undone by closing.
            *book = None;
            for order in batch {
                if let Order::Take(_, _, told) = order {
                    drop(told.send(Err(uncounted(&error))));
                }
            }
        }
    }
}

impl Book {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        if let Some(folder) = path.parent() {
            // If this fails, so does the next line, and says why.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        // One that an earlier version left may be readable by others. SQLite says what is wrong
        // with a file that cannot be opened.
        if let Ok(file) = file {
            let _ = file.set_permissions(Permissions::from_mode(0o600));
        }
        let database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(5))?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        // What is counted stays so, whatever happens to the machine.
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute_batch(SCHEMA)?;
        Ok(Self { database, swept: Timestamp::default() })
    }

    /// What each [`Order::Take`] came to, in order.
    fn carry_out(&mut self, batch: &[Order]) -> rusqlite::Result<Vec<Counted>> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut counted = Vec::new();
        let mut latest = Timestamp::default();
        for order in batch {
            match order {
                Order::Take(counters, now, _) => {
                    counted.push(take(&transaction, counters)?);
                    latest = latest.max(*now);
                }
                Order::GiveBack(counters, _) => give_back(&transaction, counters)?,
                Order::Close => {}
            }
        }
        let since = latest.as_micros().abs_diff(self.swept.as_micros());
        let is_due = latest > Timestamp::default() && since >= micros(SWEEP);
        if is_due {
            let of_use = latest.min(self.swept).as_micros().saturating_sub(micros(KEEP));
            transaction.execute("DELETE FROM counters WHERE ends < ?1", params![of_use])?;
        }
        transaction.commit()?;
        if is_due {
            self.swept = latest;
        }
        Ok(counted)
    }
}

fn take(transaction: &Transaction<'_>, counters: &[Counter]) -> rusqlite::Result<Counted> {
    let mut look = transaction.prepare_cached("SELECT used FROM counters WHERE name = ?1")?;
    let mut used = Vec::with_capacity(counters.len());
    for counter in counters {
        let there = look.query_row(params![key(counter)], |row| row.get::<_, u64>(0)).optional()?;
        used.push(there.unwrap_or(0));
    }
    let fits = used.iter().zip(counters).all(|(used, counter)| *used < u64::from(counter.most));
    if fits {
        let mut count = transaction.prepare_cached(
            "INSERT INTO counters(name, used, ends) VALUES (?1, 1, ?2)
             ON CONFLICT(name) DO UPDATE SET used = used + 1",
        )?;
        for (counter, used) in counters.iter().zip(&mut used) {
            count.execute(params![key(counter), counter.ends.as_micros()])?;
            *used += 1;
        }
    }
    Ok(Counted { fits, used })
}

fn give_back(transaction: &Transaction<'_>, counters: &[Counter]) -> rusqlite::Result<()> {
    let mut back =
        transaction.prepare_cached("UPDATE counters SET used = used - 1 WHERE name = ?1 AND used > 0")?;
    // What is at zero is as good as not there, and callers can make any number of names.
    let mut forget = transaction.prepare_cached("DELETE FROM counters WHERE name = ?1 AND used = 0")?;
    for counter in counters {
        back.execute(params![key(counter)])?;
        forget.execute(params![key(counter)])?;
    }
    Ok(())
}

fn key(counter: &Counter) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, counter.name.as_bytes()).as_ref());
    key
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, most: u32, ends: &str) -> Counter {
        Counter { name: name.to_owned(), most, ends: at(ends) }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    /// How far all counters are.
    fn kept(path: &Path) -> Vec<u64> {
        let database = Connection::open(path).expect("a database");
        let mut rows = database.prepare("SELECT used FROM counters ORDER BY used").expect("a table");
        let rows = rows.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    #[tokio::test]
    async fn all_counters_of_a_call_move_or_none_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let tally = Tally::new(folder.path().join("counts.db")).expect("a thread");
        let (day, month) = (counter("day", 2, "2026-11-22"), counter("month", 3, "2026-12-01"));
        let both = [day.clone(), month.clone()];
        let now = at("2026-11-21T10:00:00Z");
        let mut said = Vec::new();
        for _ in 0..3 {
            said.push(tally.take(&both, now).await.expect("counted"));
        }
        said.push(tally.take(&both[1..], now).await.expect("counted"));
        tally.give_back(&both).await;
        said.push(tally.take(&both, now).await.expect("counted"));
        let counted = |fits, used: &[u64]| Counted { fits, used: used.to_vec() };
        let expected = [
            counted(true, &[1, 1]),
            counted(true, &[2, 2]),
            counted(false, &[2, 2]),
            counted(true, &[3]),
            counted(true, &[2, 3]),
        ];
        assert_eq!(said, expected);
    }

    #[tokio::test]
    async fn whoever_asks_at_once_gets_exactly_what_there_is_and_a_new_process_knows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("counts.db");
        let tally = Tally::new(path.clone()).expect("a thread");
        let one = [counter("one", 10, "2026-11-22")];
        let now = at("2026-11-21T10:00:00Z");
        let asked = futures_util::future::join_all((0..50).map(|_| tally.take(&one, now))).await;
        let fits = asked.iter().filter(|counted| counted.as_ref().is_ok_and(|it| it.fits)).count();
        assert_eq!(fits, 10);
        // What was ordered before the end is still done.
        drop(tally.give_back(&one));
        tally.close();
        assert!(tally.take(&one, now).await.is_err(), "nothing is counted after the end");
        let tally = Tally::new(path).expect("a thread");
        assert_eq!(tally.take(&one, now).await, Ok(Counted { fits: true, used: vec![10] }));
    }

    #[tokio::test]
    async fn nothing_is_given_back_twice_and_what_is_of_no_use_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("counts.db");
        let tally = Tally::new(path.clone()).expect("a thread");
        let old = [counter("old", 10, "2026-11-22")];
        tally.take(&old, at("2026-11-21T10:00:00Z")).await.expect("counted");
        tally.give_back(&old).await;
        assert_eq!(kept(&path), Vec::<u64>::new(), "what is at zero is not kept");
        tally.give_back(&old).await;
        tally.take(&old, at("2026-11-21T10:00:00Z")).await.expect("counted");
        let new = [counter("new", 10, "2026-11-24")];
        for _ in 0..2 {
            tally.take(&new, at("2026-11-22T23:00:00Z")).await.expect("counted");
        }
        assert_eq!(kept(&path), [1, 2], "a clock may be put back");
        for time in ["2026-11-23T00:00:01Z", "2026-11-23T01:00:01Z"] {
            tally.take(&new, at(time)).await.expect("counted");
        }
        assert_eq!(kept(&path), [4]);
        tally.give_back(&old).await;
        assert_eq!(kept(&path), [4], "and does not come back");
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_for_a_moment_renews_no_quota() {
        let folder = tempfile::tempdir().expect("a folder");
        let tally = Tally::new(folder.path().join("counts.db")).expect("a thread");
        let month = [counter("month", 2, "2026-12-01")];
        let then = [counter("then", 2, "2028-01-01")];
        for (counter, time, used) in [
            (&month, "2026-11-21T10:00:00Z", 1),
            (&then, "2027-12-26T10:00:00Z", 1),
            (&month, "2026-11-21T10:00:01Z", 2),
            (&month, "2026-11-21T12:00:00Z", 2),
        ] {
            let counted = tally.take(counter, at(time)).await.expect("counted");
            assert_eq!(counted.used, [used], "{time}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_counted_and_it_comes_back_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join("later");
        std::fs::write(&in_the_way, "").expect("written");
        let path = in_the_way.join("counts.db");
        let tally = Tally::new(path.clone()).expect("a thread");
        let one = [counter("one", 10, "2026-11-22")];
        let now = at("2026-11-21T10:00:00Z");
        assert!(tally.check().is_err());
        let refused = tally.take(&one, now).await.expect_err("there is no folder");
        assert_eq!(refused.to_string(), "the counts cannot be written");
        tally.give_back(&one).await;
        std::fs::remove_file(&in_the_way).expect("removed");
        assert_eq!(tally.check(), Ok(()));
        assert_eq!(tally.take(&one, now).await, Ok(Counted { fits: true, used: vec![1] }));
    }
}
