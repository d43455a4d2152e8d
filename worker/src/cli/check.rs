//! `forebay check`: everything that `run` does before it takes a message, and then what it would do.

use crate::{
    assemble,
    brokers::{Missing, Opened},
    config::{
        BridgeConfig, Codes, Concurrency, Config, HandlerConfig, LogFormat, Settings, StdoutFormat,
    },
    error::CliError,
    handlers::Handlers,
    output::{self, age},
    telemetry,
};
use clap::Args;
use forebay::{Backlog, Source};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  forebay check orders.toml
  forebay check orders.toml && systemctl restart orders

Reads the config and its secrets, opens the queue, finds the program, or has the database look at the
table or the statement, and builds the worker. Takes no message, sends no request, writes no row, makes
no file, and shows no secret.";

/// Says what `run` would do with a config, and whether it could.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// The worker's config
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
}

impl Check {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        if BridgeConfig::is_meant(&self.config)? {
            return self.bridge().await;
        }
        let Config { settings, handler } = Config::load(&self.config)?;
        // A program that is not there, a statement that does not fit, are found out by this.
        let handlers = Handlers::prepare(&handler, &settings).await?;
        let (state, source) = match settings.source.open(Missing::Say).await? {
            Opened::Queue(queue) => {
                assemble::check(&settings, &queue)?;
                let source = queue.unopened();
                (depth(&queue.backlog().await?), Some(source.capabilities().clone()))
            }
            Opened::Missing(why) => (why, None),
        };
        let more = handlers.look(&settings, source.as_ref()).await?;
        let handler = [("handler", describe(&handler))];
        self.print(&settings, state, handler.into_iter().chain(more.into_iter().map(|it| ("", it))))
    }

    async fn bridge(self) -> Result<(), CliError> {
        let BridgeConfig { settings, sink } = BridgeConfig::load(&self.config)?;
        let from = match settings.source.open(Missing::Say).await? {
            Opened::Queue(queue) => {
                assemble::check(&settings, &queue)?;
                depth(&queue.backlog().await?)
            }
            Opened::Missing(why) => why,
        };
        let to = match sink.open(Missing::Say).await? {
            Opened::Queue(queue) => depth(&queue.backlog().await?),
            Opened::Missing(why) => why,
        };
        self.print(&settings, from, [("sink", sink.describe()), ("", to)])
    }

    fn print(
        &self,
        settings: &Settings,
        state: String,
        then: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<(), CliError> {
        output::line(format!("{} is sound", self.config.display()))?;
        let from = [("source", settings.source.describe()), ("", state)];
        let how = [
            ("worker", worker(settings)),
            ("retry", retry(settings)),
            ("breaker", breaker(settings)),
            ("admin", admin(settings)),
            ("telemetry", telemetry::describe(&settings.telemetry)?),
        ];
        let log = ("log", log(settings));
        for (name, what) in from.into_iter().chain(how).chain(then).chain([log]) {
            output::line(format!("  {name:9} {what}"))?;
        }
        Ok(())
    }
}

fn depth(backlog: &Backlog) -> String {
    let parts = [
        ("ready", backlog.ready),
        ("delayed", backlog.delayed),
        ("leased", backlog.leased),
        ("dead", backlog.dead),
    ];
    let told = parts
        .into_iter()
        .filter_map(|(name, count)| count.map(|count| format!("{} {name}", count.value)));
    told.collect::<Vec<_>>().join(", ")
}

fn worker(config: &Settings) -> String {
    let worker = &config.worker;
    let mut parts = vec![format!("`{}`", config.name())];
    parts.push(match worker.concurrency {
        Concurrency::Fixed(limit) => format!("{limit} at once"),
        Concurrency::Adaptive { min, max } => format!("{min} to {max} at once, as it goes"),
    });
    if let Some(rate) = worker.rate {
        parts.push(format!("{} per second (burst {})", rate.per_second, rate.burst));
    }
    if let Some(batch) = worker.batch {
        parts.push(format!(
            "batches of {} or {} bytes or {}",
            batch.size,
            batch.bytes,
            age(batch.age)
        ));
    }
    if let Some(window) = worker.window {
        parts.push(format!("window {} or {} bytes", window.messages, window.bytes));
    }
    if worker.ordered {
        parts.push("in order by key".to_owned());
    }
    parts.push(format!("timeout {}", age(worker.timeout)));
    parts.push(format!("drain {}", age(worker.drain_timeout)));
    parts.join(", ")
}

fn retry(config: &Settings) -> String {
    let retry = &config.retry;
    let longest = age(retry.longest_delay());
    format!("{} attempts, waits of up to {longest}, then a dead letter", retry.max_attempts())
}

fn breaker(config: &Settings) -> String {
    match config.breaker {
        None => "none".to_owned(),
        Some(settings) => format!(
            "opens for {} when {:.0}% of at least {} fail within {}",
            age(settings.open_for),
            settings.failure_ratio * 100.0,
            settings.min_throughput,
            age(settings.window)
        ),
    }
}

fn admin(config: &Settings) -> String {
    match &config.admin {
        None => "no port".to_owned(),
        Some(admin) => {
            let whom = if admin.token.is_some() { "who has the token" } else { "this machine" };
            format!("{}, for {whom}", admin.listen)
        }
    }
}

fn describe(config: &HandlerConfig) -> String {
    let (what, codes) = match config {
        HandlerConfig::Http(http) => {
            let names: Vec<_> = http.headers.keys().map(|name| format!("{name}: ***")).collect();
            let headers = match names.len() {
                0 => String::new(),
                _ => format!(", headers {}", names.join(", ")),
            };
            let timeout = age(http.timeout);
            (
                format!("http: POST {}{headers}, timeout {timeout}", http.shown_url),
                Some(&http.codes),
            )
        }
        HandlerConfig::Command(command) => {
            let args = match command.args.len() {
                1 => "1 argument".to_owned(),
                n => format!("{n} arguments"),
            };
            let env: String = command.env.keys().map(|name| format!(", {name}=***")).collect();
            (format!("command: {}, {args}{env}", command.program.display()), Some(&command.codes))
        }
        HandlerConfig::Sqlite(sqlite) => {
            let (path, n) = (sqlite.path.display(), sqlite.params.len());
            (format!("sqlite: {path}, a statement with {n} parameters"), None)
        }
        #[cfg(feature = "postgres")]
        HandlerConfig::Postgres(postgres) => (format!("postgres: {}", postgres.writes), None),
        HandlerConfig::Stdout(stdout) => {
            let what = match stdout.format {
                StdoutFormat::Payload => "payloads",
                StdoutFormat::Json => "JSON",
            };
            (format!("stdout: {what}, one per line"), None)
        }
    };
    match codes.and_then(Codes::describe) {
        Some(codes) => format!("{what} ({codes})"),
        None => what,
    }
}

fn log(config: &Settings) -> String {
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "JSON",
    };
    format!("{format}, {}", config.log.level)
}
