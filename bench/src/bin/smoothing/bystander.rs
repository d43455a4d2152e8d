//! The unrelated client: Debian's pgbench at a fixed low rate, with its own log of every transaction.
//!
//! With `--rate`, pgbench counts a transaction's time from when it was scheduled, not from when it
//! got round to it, and the log says so for each.

use crate::Fault;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const CLIENTS: u32 = 4;

/// A transaction of the bystander.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// When it was scheduled, in seconds from the start of the run.
    pub(crate) at: f64,
    /// From then to its end, in milliseconds.
    pub(crate) took: f64,
}

/// pgbench, running.
pub(crate) struct Bystander {
    child: Child,
    folder: TempDir,
}

/// Makes its tables.
pub(crate) fn prepare(url: &str, scale: u32) -> Result<(), Fault> {
    let scale = scale.to_string();
    let mut command = Command::new(program());
    command.args(["--initialize", "--quiet", "--scale", &scale, url]);
    let output = command.output().map_err(|error| {
        format!("{} did not start ({error}): Debian has it in `postgresql`", program().display())
    })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pgbench could not make its tables: {words}").into());
    }
    Ok(())
}

impl Bystander {
    /// Runs it for some time.
    pub(crate) fn start(url: &str, rate: u32, lasts: Duration) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let child = Command::new(program())
            .args(["--no-vacuum", "--log", "--jobs=1"])
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--rate={rate}"))
            .arg(format!("--time={}", lasts.as_secs_f64().ceil() as u64))
            .arg(format!("--log-prefix={}", folder.path().join("log").display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, folder })
    }

    /// Waits for its end, and reads what it has suffered since `start`.
    pub(crate) async fn finish(mut self, start: SystemTime) -> Result<Vec<Sample>, Fault> {
        let status = tokio::task::spawn_blocking(move || {
            let status = self.child.wait();
            (status, self.folder)
        });
        let (status, folder) = status.await?;
        if !status?.success() {
            let words = fs::read_to_string(folder.path().join("stderr"))?;
            return Err(format!("pgbench ended badly: {words}").into());
        }
        let mut samples = Vec::new();
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != "stderr") {
                samples.extend(read(&fs::read_to_string(path)?, start)?);
            }
        }
        samples.sort_by(|a, b| a.at.total_cmp(&b.at));
        Ok(samples)
    }
}

/// Where Debian puts it, of the newest version; else whatever is on the path.
fn program() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| Path::new("/usr/lib/postgresql").join(version.to_string()));
    newest
        .map(|folder| folder.join("bin/pgbench"))
        .filter(|path| path.exists())
        .unwrap_or_else(|| "pgbench".into())
}

/// A log: client, number, time in microseconds, script, second and microsecond of the end, lag.
fn read(log: &str, start: SystemTime) -> Result<Vec<Sample>, Fault> {
    let start = start.duration_since(UNIX_EPOCH)?.as_secs_f64();
    log.lines()
        .map(|line| {
            let field = |i| -> Option<f64> { line.split_whitespace().nth(i)?.parse().ok() };
            let (took, second, micros) = field(2).zip(field(4)).zip(field(5)).map_or_else(
                || Err(format!("pgbench's log has a line that is not understood: {line}")),
                |((took, second), micros)| Ok((took, second, micros)),
            )?;
            let ended = second - start + micros / 1e6;
            Ok(Sample { at: ended - took / 1e6, took: took / 1e3 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_from_when_it_was_scheduled() {
        let start = UNIX_EPOCH + Duration::from_secs(1000);
        let samples = read("0 1 250000 0 1002 500000 1000\n", start).unwrap();
        assert_eq!(samples, [Sample { at: 2.25, took: 250.0 }]);
        assert!(read("0 1 skipped 0 1002 500000 1000\n", start).is_err());
    }
}
