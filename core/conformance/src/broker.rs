//! A broker of a test's own, by `scripts/brokers`: what one test kills, starves or restarts, all others
//! would lose with it.
//!
//! Its ports are those of the shared one, moved by an offset. Several tests may have brokers of their
//! own at once, in one process or in several: each offset has a folder, and who makes the folder has
//! the offset. Offsets are whole hundreds, so that no two brokers of different kinds meet, and below the
//! range that the system gives out for outgoing connections.

use std::{env, fs, ops::RangeInclusive, path::PathBuf, process::Command};

/// Offsets, in hundreds. Those below are for second checkouts; with 10, a PostgreSQL would have the port of
/// the shared PgBouncer.
const HUNDREDS: RangeInclusive<u16> = 11..=34;

/// A broker of a test's own, ended with it, and its data with it.
#[derive(Debug)]
pub struct Broker {
    name: &'static str,
    directory: PathBuf,
    offset: u16,
    variables: Vec<(&'static str, &'static str)>,
}

impl Broker {
    /// Starts one of those that `scripts/brokers` knows, as `kafka`, `rabbitmq` or `postgres`, with
    /// some of its variables set, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up, or there are too many of them.
    #[must_use]
    pub fn start(name: &'static str, variables: &[(&'static str, &'static str)]) -> Self {
        let (offset, directory) = reserve();
        let broker = Self { name, directory, offset, variables: variables.to_vec() };
        broker.up();
        broker
    }

    /// The port that it has where the shared one has this.
    #[must_use]
    pub const fn port(&self, shared: u16) -> u16 {
        shared + self.offset
    }

    /// Where it listens on loopback, as `host:port`, where the shared one has this port.
    #[must_use]
    pub fn address(&self, shared: u16) -> String {
        format!("127.0.0.1:{}", self.port(shared))
    }

    /// Starts it again, with the data that it had.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(&self) {
        self.must(&["up", self.name]);
    }

    /// Kills it (SIGKILL).
    ///
    /// # Panics
    /// When it is not up.
    pub fn kill(&self) {
        self.must(&["kill", self.name]);
    }

    /// As if its machine had been reset; then it comes back.
    ///
    /// # Panics
    /// When it is not up, or does not come up again.
    pub fn crash(&self) {
        self.kill();
        self.up();
    }

    /// Stops it in order, and starts it again.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn restart(&self) {
        self.must(&["restart", self.name]);
    }

    /// Runs its own tool, as `rabbitmqctl`; what that prints.
    ///
    /// # Panics
    /// When the tool fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.must(&[&["ctl", self.name], arguments].concat())
    }

    fn must(&self, arguments: &[&str]) -> String {
        match self.script(arguments) {
            Ok(printed) => printed,
            Err(said) => panic!("scripts/brokers {arguments:?}: {said}"),
        }
    }

    fn script(&self, arguments: &[&str]) -> Result<String, String> {
        let script = script().ok_or("neither this folder nor one above it has scripts/brokers")?;
        let output = Command::new(script)
            .args(arguments)
            .env("FOREBAY_BROKERS_DIR", &self.directory)
            .env("FOREBAY_BROKERS_OFFSET", self.offset.to_string())
            .envs(self.variables.iter().copied())
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

/// `scripts/brokers` of the checkout that this runs in. Looked for when the test runs, and not where it was
/// built: one target folder may serve several checkouts.
fn script() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    here.ancestors().map(|folder| folder.join("scripts/brokers")).find(|script| script.exists())
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be down already, and its data goes anyway; `down` ends what is beside it.
        let _ = self.script(&["kill", self.name]);
        let _ = self.script(&["down", self.name]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// An offset that nobody else has, and its folder: a place that other users can enter, since
/// PostgreSQL does not run as root.
fn reserve() -> (u16, PathBuf) {
    let folder = |offset| std::env::temp_dir().join(format!("forebay-broker-{offset}"));
    let free = HUNDREDS.map(|hundreds| hundreds * 100).find_map(|offset| {
        let directory = folder(offset);
        fs::create_dir(&directory).is_ok().then_some((offset, directory))
    });
    free.unwrap_or_else(|| {
        let pattern = folder(0).with_file_name("forebay-broker-*");
        panic!("too many brokers of tests: end those that are left over, and remove {pattern:?}")
    })
}
