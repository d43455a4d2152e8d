//! The workers of a queue, wherever they are: each is asked for its own `/scale`.
//!
//! Who is asked: each address that each host has, looked up anew each time, so that a headless
//! service of Kubernetes, or any name with an address for each worker, is all that is to be known.
//!
//! | what comes of it | it counts as |
//! |---|---|
//! | an answer | a worker, unless it drains |
//! | the connection is refused | nobody: its process has ended |
//! | no answer in time, or one that is none of a worker's | a worker that says nothing: to take it for gone would scale in a fleet that is only slow, or has another token |
//! | the name is not known | nobody, after a while: a service without a worker has no address |

use super::{Admin, crew::Roll, scale::Worker};
use crate::config::{ScaleConfig, Token, WorkersAt};
use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    net::lookup_host,
    time::{MissedTickBehavior, interval, timeout},
};

/// How long a worker, and the name service, may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Workers that are asked at a time.
const AT_A_TIME: usize = 32;
/// An answer is not read further than this.
const ANSWER_MAX: usize = 64 << 10;
/// For how long a name that cannot be looked up leaves things as they were.
const FORGIVEN: Duration = Duration::from_secs(30);

/// Follows the fleet until it is dropped.
pub(super) async fn follow(
    admin: Admin,
    poll: Duration,
    config: ScaleConfig,
    token: Option<Token>,
) {
    // No proxy, no redirect: an address is a worker, or it is not.
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = match client.timeout(ANSWER_WITHIN).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!("no worker can be asked: {error}"),
    };
    let asker = Asker { client, bearer: token.as_ref().map(Token::bearer) };
    let (mut roll, mut known_at) = (Roll::default(), None::<Instant>);
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (addresses, unknown) = look_up(&config.workers).await;
        if unknown.is_none() {
            known_at = Some(Instant::now());
        } else if known_at.is_some_and(|at| at.elapsed() < FORGIVEN) {
            admin.update(|view| view.workers_trouble = unknown);
            continue;
        }
        let round = asker.ask(addresses).await;
        let crew = roll.call(round.heard, round.silent);
        admin.update(|view| {
            view.crew = Some(crew);
            view.workers_trouble = round.trouble.or(unknown);
        });
    }
}

/// The addresses of all hosts, and why they may not be all.
async fn look_up(hosts: &[WorkersAt]) -> (BTreeSet<SocketAddr>, Option<String>) {
    let (mut addresses, mut unknown) = (BTreeSet::new(), None);
    for WorkersAt { host, port } in hosts {
        match timeout(ANSWER_WITHIN, lookup_host((&**host, *port))).await {
            Ok(Ok(found)) => addresses.extend(found),
            Ok(Err(error)) => unknown = Some(format!("{host}: {error}")),
            Err(_) => unknown = Some(format!("{host}: no answer within {ANSWER_WITHIN:?}")),
        }
    }
    (addresses, unknown)
}

/// What a round of asking came to.
#[derive(Debug, Default)]
struct Round {
    heard: Vec<Worker>,
    silent: u32,
    trouble: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("nobody is there")]
    Nobody,
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("it wants another token: see `scale.token`")]
    Token,
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer is longer than {ANSWER_MAX} bytes")]
    Long,
    #[error("its answer is not that of a worker: {0}")]
    Other(#[from] serde_json::Error),
    #[error("it handles no jobs")]
    NoWorker,
}

#[derive(Deserialize)]
struct Answer {
    worker: Option<Worker>,
}

struct Asker {
    client: Client,
    bearer: Option<String>,
}

impl Asker {
    async fn ask(&self, addresses: BTreeSet<SocketAddr>) -> Round {
        let asked = addresses.into_iter().map(|at| async move { (at, self.one(at).await) });
        let mut answers = stream::iter(asked).buffer_unordered(AT_A_TIME);
        let mut round = Round::default();
        while let Some((at, answer)) = answers.next().await {
            match answer {
                Ok(worker) => round.heard.push(worker),
                Err(NoAnswer::Nobody) => {}
                Err(why) => {
                    round.silent += 1;
                    round.trouble = Some(format!("{at}: {why}"));
                }
            }
        }
        round
    }

    async fn one(&self, at: SocketAddr) -> Result<Worker, NoAnswer> {
        let mut request = self.client.get(format!("http://{at}/scale"));
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let mut response = request.send().await.map_err(|error| match error.is_connect() {
            // A connection that is refused, reset, or has no route; what takes too long is neither.
            true if !error.is_timeout() => NoAnswer::Nobody,
            _ => error.into(),
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(NoAnswer::Token),
            other => return Err(NoAnswer::Status(other)),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MAX {
                return Err(NoAnswer::Long);
            }
        }
        serde_json::from_slice::<Answer>(&body)?.worker.ok_or(NoAnswer::NoWorker)
    }
}
