//! A worker with an admin port, and a handler that does what its messages say.

use forebay_conformance::proxy::FaultProxy;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything here should take, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// `die` is dead at once until there is a file `mended`, `hold` lasts until then.
const SCRIPT: &str = r#"
message=$(cat)
case "$message" in
  die*) test -e mended || { echo "no such customer: $message" >&2; exit 65; };;
  late*) echo "too late: $message" >&2; exit 65;;
  fail*) echo "connection refused" >&2; exit 1;;
  hold*) until test -e mended; do sleep 0.1; done;;
esac
"#;

/// A folder with a queue, and a worker at it. Both go when the test ends.
pub(crate) struct Site {
    folder: TempDir,
    address: SocketAddr,
    worker: Option<Child>,
    /// What is between the worker and its broker, where that is not a file.
    proxy: Option<FaultProxy>,
}

const FILE: &str = "[source.embedded]\npath = 'q.db'\nqueue = 'orders'\n";

impl Site {
    /// A worker that has its port.
    pub(crate) fn new() -> Self {
        Self::started(FILE, "", "")
    }

    /// One that asks for a token.
    pub(crate) fn with_token() -> Self {
        Self::started(FILE, "token = 'a-token-of-the-tests'", "")
    }

    /// One whose telemetry goes to where nobody is.
    pub(crate) fn without_a_collector() -> Self {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let telemetry =
            format!("[telemetry]\nendpoint = 'http://{nobody}'\nsample = 1\ninterval = '100ms'\n");
        Self::started(FILE, "", &telemetry)
    }

    /// One whose RabbitMQ can be made to go.
    pub(crate) fn behind_a_proxy() -> Self {
        let usual = "amqp://guest:guest@127.0.0.1:25672/%2f";
        let address = env::var("FOREBAY_TEST_AMQP").unwrap_or_else(|_| usual.to_owned());
        let (_, host) = address.rsplit_once('@').unwrap();
        let host = host.split('/').next().unwrap();
        let upstream = host.to_socket_addrs().unwrap().next().unwrap();
        TcpStream::connect(upstream).expect("RabbitMQ: `scripts/brokers up rabbitmq`");
        let proxy = FaultProxy::start(upstream).unwrap();
        let url = address.replace(host, &proxy.address().to_string());
        let queue = format!("page-{}-{}", process::id(), proxy.address().port());
        let source = format!("[source.rabbitmq]\nurl = '{url}'\nqueue = '{queue}'\n");
        let mut site = Self::started(&source, "", "");
        site.proxy = Some(proxy);
        site
    }

    fn started(source: &str, admin: &str, telemetry: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; a worker that comes back must have the same.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "{source}[worker]\nconcurrency = 4\n\
             [retry]\nattempts = 20\nbase = '1s'\n\
             [breaker]\nmin_throughput = 5\n\
             [admin]\nlisten = '{address}'\n{admin}\n{telemetry}\
             [handler.command]\nprogram = 'sh'\nargs = ['-c', '''{SCRIPT}''']\n"
        );
        fs::write(folder.path().join("w.toml"), config).unwrap();
        let mut site = Self { folder, address, worker: None, proxy: None };
        site.start();
        site
    }

    /// Where its page is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn forebay(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.forebay(&["run", "w.toml"]);
        let mut worker = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = worker.try_wait().unwrap();
            assert!(ended.is_none(), "the worker has ended: {}", self.log());
            assert!(started.elapsed() < PATIENCE, "no admin port: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        self.worker = Some(worker);
    }

    fn kill(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            // Fails where it has ended, which is as well.
            let _ = worker.kill();
            worker.wait().unwrap();
        }
    }

    fn send(&self, payloads: &[String]) {
        let mut args = vec!["send", "--config", "w.toml", "--raw", "--header", "kind=test", "--"];
        args.extend(payloads.iter().map(String::as_str));
        let output = self.forebay(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Does what a case asks for.
    pub(crate) fn act(&mut self, what: &str) {
        let (verb, argument) = what.split_once(' ').unwrap_or((what, ""));
        match verb {
            "send" => self.send(&serde_json::from_str::<Vec<String>>(argument).unwrap()),
            "kill" => self.kill(),
            "start" => self.start(),
            "mend" => fs::write(self.folder.path().join("mended"), "").unwrap(),
            "refuse" => self.proxy.as_ref().unwrap().refuse(argument == "on"),
            "silence" => self.proxy.as_ref().unwrap().half_open(argument == "on"),
            "drain" => {
                let worker = self.worker.as_ref().unwrap().id().try_into().unwrap();
                kill_process(Pid::from_raw(worker).unwrap(), Signal::TERM).unwrap();
            }
            _ => panic!("a case asks for `{what}`"),
        }
    }

    /// What the worker has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}
