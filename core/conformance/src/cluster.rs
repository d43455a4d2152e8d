//! A PostgreSQL cluster of a test's own, on a port of its own, to be shut down the hard way.

use std::{
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

#[allow(dead_code, reason = "each test file uses some of it")]
pub(crate) struct Cluster {
    directory: TempDir,
    bin: PathBuf,
    port: u16,
    /// PostgreSQL refuses to run as root: then it is run as Debian's user `postgres`.
    as_root: bool,
}

#[allow(dead_code, reason = "each test file uses some of it")]
impl Cluster {
    /// Makes one, and starts it with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let as_root = directory.path().metadata().unwrap().uid() == 0;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { directory, bin: bin(), port, as_root };
        cluster.give(cluster.directory.path());
        let data = cluster.data();
        let mut initdb = cluster.command("initdb");
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--pgdata",
        ]);
        succeed(initdb.arg(&data));
        let mut file = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
        file += &format!(
            "\nport = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n{}\n",
            settings.join("\n")
        );
        std::fs::write(data.join("postgresql.conf"), file).unwrap();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A folder that the server can read.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn up(&self) {
        self.pg_ctl(&["-w", "-t", "30", "start"]);
    }

    /// As if its processes had been killed: no checkpoint, no goodbye.
    pub(crate) fn crash(&self) {
        self.pg_ctl(&["-m", "immediate", "-w", "-t", "30", "stop"]);
    }

    /// Gives a file to whom the server runs as.
    pub(crate) fn give(&self, path: &Path) {
        if self.as_root {
            succeed(Command::new("chown").arg("postgres:").arg(path));
        }
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(self.data()).arg("-l").arg(self.directory.path().join("log"));
        succeed(command.args(arguments));
    }

    fn command(&self, program: &str) -> Command {
        self.run_as_server(self.bin.join(program))
    }

    /// A program, to be run as whom the server runs as.
    pub(crate) fn run_as_server(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let mut command = match self.as_root {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]);
                command.arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl");
        command.arg("-D").arg(self.data()).args(["-m", "immediate", "stop"]);
        // It may not have been started.
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The server's programs, of the newest version that is installed.
fn bin() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb").exists().then(|| (version, path.join("bin")))
        })
        .collect();
    versions.sort();
    versions
        .pop()
        .expect(
            "no PostgreSQL under /usr/lib/postgresql: `scripts/brokers up postgres` installs it",
        )
        .1
}

pub(crate) fn succeed(command: &mut Command) {
    // Not a pipe: the server would inherit it, and its end would be waited for.
    let status = command.stdout(Stdio::null()).stdin(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?} failed");
}
