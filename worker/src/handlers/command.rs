//! `[handler.command]`: a process per message, its payload on standard input, no shell.
//!
//! Standard input is a file without a name, complete before the program starts, and not a pipe: if
//! the worker were killed while it fed one, the program would take half a payload for the whole.
//!
//! Each process leads a process group of its own. When the handler's time is up, its future is
//! dropped, and dropping the guard kills the whole group: what a script started does not outlive it.
//! A drain that runs out of time says so first, by SIGTERM.

mod child;

use crate::{
    config::{CommandConfig, Meaning},
    handlers::{Finding, trace},
};
use child::{Group, Tail};
use forebay::{Bytes, Failure, Handler, Job};
use rustix::process::Signal;
use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, ErrorKind, Seek, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::spawn_blocking,
    time::timeout,
};

/// How long standard error may stay open after the program has ended: a child of it may hold it.
const LATE_STDERR: Duration = Duration::from_millis(100);
/// `EX_DATAERR` of sysexits: the input data was incorrect.
const DATA_ERROR: u16 = 65;

/// Runs a program for each message.
pub(crate) struct RunCommand {
    program: PathBuf,
    config: CommandConfig,
}

impl RunCommand {
    /// A handler that runs this program, as [`RunCommand::find`] found it.
    pub(crate) fn new(program: PathBuf, config: CommandConfig) -> Self {
        Self { program, config }
    }

    /// Where the program is. Looked up once, so that it cannot become another one while we run.
    ///
    /// # Errors
    /// A text that says where it was looked for.
    pub(crate) fn find(config: &CommandConfig) -> Result<PathBuf, String> {
        let program = &config.program;
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        };
        if program.components().count() > 1 {
            return if is_program(program) {
                Ok(program.clone())
            } else {
                Err(format!("{} is not there, or not executable", program.display()))
            };
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(is_program)
            .ok_or_else(|| format!("no program `{}` in PATH", program.display()))
    }

    fn spawn(&self, job: &Job<Bytes>, stdin: File) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        // The worker itself may have been started within a trace, which is not the message's.
        for name in trace::NAMES {
            command.env_remove(name.to_ascii_uppercase());
        }
        command
            .args(&self.config.args)
            .envs(&self.config.env)
            .env("FOREBAY_ID", job.id().to_string())
            .env("FOREBAY_ATTEMPT", job.attempt().to_string())
            .stdin(stdin)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        match job.key() {
            Some(key) => command.env("FOREBAY_KEY", OsStr::from_bytes(key)),
            None => command.env_remove("FOREBAY_KEY"),
        };
        for (name, value) in trace::context(Some(job.headers())) {
            // No environment can hold a NUL, and a trace is no reason to refuse a message.
            if !value.contains(&0) {
                command.env(name.to_ascii_uppercase(), OsStr::from_bytes(&value));
            }
        }
        command.spawn()
    }

    async fn run(&self, job: &Job<Bytes>) -> Result<Finding, Finding> {
        let transient = |what: &str, error: io::Error| {
            Finding::new(Meaning::Transient, format!("{what}: {error}"))
        };
        let stdin = file_of(job.payload.clone())
            .await
            .map_err(|error| transient("cannot write the payload to a temporary file", error))?;
        let mut child = self.spawn(job, stdin).map_err(|error| match error.kind() {
            // A key with a NUL byte in it, which no environment can hold.
            ErrorKind::InvalidInput => Finding::new(
                Meaning::Permanent,
                format!("the program cannot be given this: {error}"),
            ),
            _ => transient(&format!("cannot start {}", self.program.display()), error),
        })?;
        let mut group = Group::of(&child);
        let mut tail = Tail::new(child.stderr.take());
        let called_off = job.cancellation().cancelled();
        tokio::pin!(called_off);
        let mut told = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = tail.read(), if tail.is_open() => {}
                () = &mut called_off, if !told => {
                    told = true;
                    group.signal(Signal::TERM);
                }
            }
        };
        group.disarm();
        let status = status.map_err(|error| transient("cannot wait for the program", error))?;
        let _ = timeout(LATE_STDERR, tail.read_to_end()).await;
        Ok(self.judge(status, &tail.text()))
    }

    fn judge(&self, status: ExitStatus, stderr: &str) -> Finding {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => status.to_string(),
        };
        let code = status.code().and_then(|code| u16::try_from(code).ok());
        let meaning = match code {
            Some(0) => Meaning::Ack,
            Some(code) => self.config.codes.meaning(code).unwrap_or(match code {
                DATA_ERROR => Meaning::Permanent,
                _ => Meaning::Transient,
            }),
            None => Meaning::Transient,
        };
        let text = if stderr.is_empty() { how } else { format!("{how}: {stderr}") };
        Finding::new(meaning, text)
    }
}

impl Handler<Bytes> for RunCommand {
    async fn handle(&self, job: Job<Bytes>) -> Result<(), Failure> {
        let (Ok(finding) | Err(finding)) = self.run(&job).await;
        finding.into_result()
    }
}

/// The payload as a file to be read from its beginning. It has no name, and goes with its last reader.
async fn file_of(payload: Bytes) -> io::Result<File> {
    let written = spawn_blocking(move || {
        let mut file = tempfile::tempfile()?;
        file.write_all(&payload)?;
        file.rewind()?;
        Ok(file)
    });
    written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
