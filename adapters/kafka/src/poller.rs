//! The thread that owns the consumer. It polls for ever: while handlers run, while the gate is shut,
//! while a partition is full. So the group never takes this worker for dead.
//!
//! ```text
//!   loop: rebalances, commits, errors   (the consumer's own queue, always)
//!         messages                      (a queue for each partition, where there is room)
//!         what has fallen due
//!         a commit, 100 ms after the last
//!         sleep until woken: by librdkafka, by receive, by settle, by the clock
//! ```
//!
//! Each partition has its queue, split from the consumer's, so that a full partition is just not
//! asked: its messages stay in librdkafka's queue, which is capped in bytes and then fetches no more.
//! Pausing it would throw away what is fetched, and fetch it again.

use crate::{
    KafkaError, KafkaOptions,
    commit::Committer,
    config,
    context::{Context, Note},
    producer::Producer,
    reader::Reader,
    records::{self, Read},
    state::Shared,
    topics::Topics,
};
use forebay_contract::{Message, SourceEvent};
use forebay_policy::Ledger;
use rdkafka::{
    consumer::{BaseConsumer, Consumer, base_consumer::PartitionQueue},
    error::KafkaError as Fault,
    types::RDKafkaErrorCode as Code,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How long the thread sleeps when nothing wakes it: the net, should a wake-up be lost.
const NAP: Duration = Duration::from_millis(100);

/// The least time between two commits.
pub(crate) const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// How often the brokers are asked for while they are away.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The most that is read of a partition before others are looked at, and its done map is.
const BATCH: usize = Ledger::AHEAD;

/// A partition's queue of fetched messages.
pub(crate) struct Queue {
    pub(crate) scope: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) queue: PartitionQueue<Context>,
    /// librdkafka says that something came.
    pub(crate) filled: Arc<AtomicBool>,
    /// With order: what was noted of attempts, by offset.
    pub(crate) attempts: HashMap<i64, Noted>,
}

/// What was noted of a message that waited in its lane when its worker went.
pub(crate) struct Noted {
    pub(crate) message: Arc<Message>,
    pub(crate) due: Option<SystemTime>,
}

/// See the module's documentation.
pub(crate) struct Poller {
    pub(crate) options: Arc<KafkaOptions>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) consumer: Arc<BaseConsumer<Context>>,
    pub(crate) context: Context,
    pub(crate) producer: Arc<Producer>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) scopes: u64,
    /// Partitions on their way out.
    pub(crate) revoking: Option<crate::rebalance::Revoking>,
    /// When the commit that is on its way was sent.
    pub(crate) committing: Option<Instant>,
    pub(crate) committer: Committer,
    pub(crate) commit_at: Instant,
    pub(crate) commits_fail_since: Option<Instant>,
    /// For noted attempts, where there is order.
    pub(crate) attempts: Option<Reader>,
    /// Whether the brokers are away, as was told.
    down: bool,
    /// While they are away: when to ask for them; `None` while they are being asked.
    ask_at: Option<Instant>,
}

impl Poller {
    pub(crate) fn new(
        options: &Arc<KafkaOptions>,
        topics: &Arc<Topics>,
        shared: &Arc<Shared>,
        producer: &Arc<Producer>,
    ) -> Result<Self, KafkaError> {
        let context = Context::default();
        let mut consumer: BaseConsumer<Context> = config::worker(options)?
            .create_with_context(context.clone())
            .map_err(|fault| KafkaError::new("making a consumer", &fault))?;
        let waker = shared.clone();
        consumer.set_nonempty_callback(move || waker.wake_thread());
        let names: Vec<_> = topics.read.iter().map(|topic| &**topic).collect();
        consumer
            .subscribe(&names)
            .map_err(|fault| KafkaError::new("subscribing to the topics", &fault))?;
        let attempts = match &topics.attempts {
            Some(_) => Some(Reader::new(options, &format!("{}.attempts", options.group))?),
            None => None,
        };
        Ok(Self {
            options: options.clone(),
            topics: topics.clone(),
            shared: shared.clone(),
            consumer: Arc::new(consumer),
            producer: producer.clone(),
            queues: Vec::new(),
            scopes: 0,
            revoking: None,
            committing: None,
            committer: Committer::start(context.clone(), shared.clone())
                .map_err(|error| no_thread(&error))?,
            context,
            commit_at: Instant::now(),
            commits_fail_since: None,
            attempts,
            down: false,
            ask_at: None,
        })
    }

    fn run(&mut self) {
        loop {
            self.serve();
            let read = self.read_all();
            let now = Instant::now();
            let (due, closing) = {
                let mut state = self.shared.lock();
                let due = state.tick(now);
                if state.has_ready() {
                    self.shared.ready.notify_one();
                }
                (due, state.close_by)
            };
            if let Some(deadline) = closing {
                return self.leave(deadline);
            }
            self.go_on_revoking(now);
            self.commit(now);
            self.ask_for_brokers(now);
            if !read {
                let due = due.map_or(NAP, |due| due.saturating_duration_since(now));
                thread::park_timeout(due.min(NAP));
            }
        }
    }

    /// Takes in what the consumer tells.
    pub(crate) fn serve(&mut self) {
        // A poll ends with the first event that it has dealt with.
        for _ in 0..100 {
            let heard = self.context.heard();
            let mut stray = None;
            match self.consumer.poll(Duration::ZERO) {
                None if self.context.heard() == heard => break,
                None => {}
                Some(Ok(record)) => stray = Some(records::read_any(&record)),
                Some(Err(fault)) => self.trouble(&fault),
            }
            if let Some((topic, partition, read)) = stray {
                self.take_stray(&topic, partition, read);
            }
        }
        while let Some(note) = self.context.next() {
            match note {
                Note::Assign(partitions) => self.assign(&partitions),
                Note::Revoke(partitions) => self.begin_revoking(partitions),
                Note::Committed(answer) => self.committed(answer),
                Note::Asked { there: true } => self.is_up(),
                Note::Asked { there: false } => self.ask_at = Some(Instant::now() + ASK_EVERY),
                Note::Trouble(code, why) => self.heard(code, &why),
            }
        }
    }

    /// A message that came by the consumer's own queue, not by that of its partition. librdkafka does
    /// not do that, as the queues are split before a partition is fetched; but to drop one would
    /// be to lose it.
    fn take_stray(&mut self, topic: &str, partition: i32, read: Read) {
        let Some(index) = self.topics.index(topic) else { return };
        let (scope, took) = {
            let mut state = self.shared.lock();
            let Some(scope) = state.scope_of(index, partition) else { return };
            let now = (Instant::now(), SystemTime::now());
            let due = read.due.map(|due| now.0 + due.duration_since(now.1).unwrap_or_default());
            (scope, state.read(scope, vec![(read, due)], now.0))
        };
        if let Some(offset) = took.rewound {
            self.rewind(scope, offset);
        }
    }

    /// An error of the connections.
    fn heard(&mut self, code: Code, why: &str) {
        tracing::debug!("consumer: {code}: {why}");
        let away = matches!(code, Code::AllBrokersDown | Code::Authentication | Code::SSL);
        if away && !self.down {
            self.down = true;
            self.ask_at = Some(Instant::now() + ASK_EVERY);
            self.shared.tell(SourceEvent::Down(why.to_owned()));
        }
    }

    /// librdkafka tells of brokers that go, not of those that come: where there is nothing to read or to
    /// commit, nobody else would notice.
    fn ask_for_brokers(&mut self, now: Instant) {
        if self.down && self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            self.committer.ask(&self.producer, self.topics.main());
        }
    }

    /// Something has worked.
    pub(crate) fn is_up(&mut self) {
        if std::mem::take(&mut self.down) {
            self.shared.tell(SourceEvent::Up);
        }
    }

    /// An error of the consumer's.
    fn trouble(&mut self, fault: &Fault) {
        let code = fault.rdkafka_error_code();
        if let Fault::MessageConsumptionFatal(_) = fault {
            let error = match KafkaError::new("consuming", fault) {
                error @ KafkaError::Fenced => error,
                error => KafkaError::Broker {
                    what: "consuming".into(),
                    detail: error.to_string(),
                    passing: false,
                },
            };
            return self.shared.fail(error);
        }
        match code {
            // Told by the connections, too.
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {}
            Some(code @ (Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                // Deleted, or not known everywhere yet.
                self.heard(
                    Code::AllBrokersDown,
                    &format!("a topic of {:?}: {code}", self.topics.read),
                );
            }
            Some(Code::PollExceeded) => {
                tracing::warn!("the poll came too late, was the process stopped? Joining again");
            }
            _ => {
                let what = format!(
                    "consuming `{}` in the group `{}`",
                    self.topics.main(),
                    self.options.group
                );
                let error = KafkaError::new(what, fault);
                if error.is_fatal() {
                    self.shared.fail(error);
                } else {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    /// Reads what there is room for. Returns whether anything came.
    pub(crate) fn read_all(&mut self) -> bool {
        let rooms: Vec<_> = {
            let mut state = self.shared.lock();
            let room = |queue: &Queue| {
                state.partition(queue.scope).map_or(0, |partition| partition.room(&self.options))
            };
            self.queues.iter().map(room).collect()
        };
        let sweep = self.commit_at <= Instant::now();
        let (mut any, mut faults, mut rewound) = (false, Vec::new(), Vec::new());
        for (queue, room) in self.queues.iter_mut().zip(rooms) {
            if room == 0 || !(queue.filled.swap(false, Ordering::AcqRel) || sweep) {
                continue;
            }
            let batch = queue.read(room.min(BATCH), &mut faults);
            if batch.is_empty() {
                continue;
            }
            any = true;
            let took = self.shared.lock().read(queue.scope, batch, Instant::now());
            if took.ready {
                self.shared.ready.notify_one();
            }
            rewound.extend(took.rewound.map(|offset| (queue.scope, offset)));
        }
        for (scope, offset) in rewound {
            self.rewind(scope, offset);
        }
        for fault in faults {
            self.trouble(&fault);
        }
        if any {
            self.is_up();
        }
        any
    }
}

impl Queue {
    /// Reads up to so many messages.
    fn read(&mut self, room: usize, faults: &mut Vec<Fault>) -> Vec<(Read, Option<Instant>)> {
        let mut batch = Vec::new();
        let now = (Instant::now(), SystemTime::now());
        while batch.len() < room {
            match self.queue.poll(Duration::ZERO) {
                None => return batch,
                Some(Err(fault)) => faults.push(fault),
                Some(Ok(record)) => {
                    let read = self.with_attempts(records::read(&record, &self.topic));
                    let due = read.due.map(|due| {
                        // What is overdue is due now.
                        now.0 + due.duration_since(now.1).unwrap_or_default()
                    });
                    batch.push((read, due));
                }
            }
        }
        // There may be more.
        self.filled.store(true, Ordering::Release);
        batch
    }

    /// Adds what was noted of the message.
    fn with_attempts(&mut self, mut read: Read) -> Read {
        if self.attempts.is_empty() {
            return read;
        }
        if let Some(noted) = self.attempts.remove(&read.offset)
            && noted.message.id == read.message.id
        {
            let message = Arc::make_mut(&mut read.message);
            message.attempt = noted.message.attempt;
            message.history = noted.message.history.clone();
            read.due = noted.due;
        }
        read
    }
}

/// Starts the thread.
pub(crate) fn start(mut poller: Poller) -> Result<(), KafkaError> {
    let shared = poller.shared.clone();
    let (go, ready) = std::sync::mpsc::channel::<()>();
    let handle = thread::Builder::new()
        .name("forebay-kafka".into())
        .spawn(move || {
            // Until its handle is known, nobody could wake it.
            let _ = ready.recv();
            poller.run();
            let shared = poller.shared.clone();
            drop(poller);
            shared.finished.send_replace(true);
        })
        .map_err(|error| no_thread(&error))?;
    let _ = shared.thread.set(handle.thread().clone());
    drop(go);
    Ok(())
}

fn no_thread(error: &std::io::Error) -> KafkaError {
    let (what, detail) = ("starting a thread".to_owned(), error.to_string());
    KafkaError::Broker { what, detail, passing: false }
}
