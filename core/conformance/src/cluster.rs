//! A PostgreSQL cluster of a test's own, on a port of its own, to be shut down or stopped the hard way.

use std::{
    io,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A PostgreSQL server of its own. Dropping it ends it, and deletes its data.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
    bin: PathBuf,
    port: u16,
    /// PostgreSQL refuses to run as root: then it is run as Debian's user `postgres`.
    as_root: bool,
}

impl Cluster {
    /// Makes one with these settings, lines of its `postgresql.conf`; [`Cluster::up`] starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or cannot make its files.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("there is a folder for temporary files");
        let as_root = directory.path().metadata().expect("the folder is there").uid() == 0;
        let port = free_port().expect("there is a free port");
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
        let conf = data.join("postgresql.conf");
        let mut file = std::fs::read_to_string(&conf).expect("initdb has written it");
        file += &format!(
            "\nport = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n{}\n",
            settings.join("\n")
        );
        std::fs::write(conf, file).expect("it can be written again");
        cluster
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder that the server can read.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The folder of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&self) {
        self.pg_ctl(&["-w", "-t", "30", "start"]);
    }

    /// As if its processes had been killed: no checkpoint, no goodbye.
    ///
    /// # Panics
    /// When it is not up.
    pub fn crash(&self) {
        self.pg_ctl(&["-m", "immediate", "-w", "-t", "30", "stop"]);
    }

    /// Its processes at this moment, the one that the others come from first; none when it is not up.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let pid_file = std::fs::read_to_string(self.data().join("postmaster.pid"));
        let first = pid_file.ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        let Some(first) = first else { return vec![] };
        let others = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // After the name, which may hold anything, come the state and the parent.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse();
            (parent == Ok(first)).then_some(pid)
        });
        std::iter::once(first).chain(others).collect()
    }

    /// Gives a file to whom the server runs as.
    ///
    /// # Panics
    /// When the file is not there.
    pub fn give(&self, path: &Path) {
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
    #[must_use]
    pub fn run_as_server(&self, program: impl AsRef<Path>) -> Command {
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

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn succeed(command: &mut Command) {
    // Not a pipe: the server would inherit it, and its end would be waited for.
    let status = command.stdout(Stdio::null()).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
}
