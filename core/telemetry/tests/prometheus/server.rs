//! What the test needs around it: a server of metrics, and a Prometheus that scrapes it.

use axum::{Router, routing::get};
use forebay_telemetry::Telemetry;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// How long a busy machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the repository is. Cargo runs tests in the package's folder.
pub fn repository() -> PathBuf {
    PathBuf::from("../..")
}

/// A program of Prometheus' package.
pub fn program(name: &str) -> PathBuf {
    let fetch = repository().join("scripts/prometheus");
    let output = Command::new(&fetch).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed: {errors}", fetch.display());
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join(name)
}

/// Serves the metrics; returns where.
pub async fn serve(telemetry: Telemetry) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/metrics", get(async move || telemetry.render()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A Prometheus on a port of its own; it ends with this.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    pub async fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
             scrape_configs: [{{ job_name: forebay, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        // The port is free now, and nobody else is told of it.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, _folder: folder }
    }

    /// What a query comes to, once it is as it should be.
    pub async fn eventually(&self, query: &str, is_right: impl Fn(f64) -> bool) -> f64 {
        let (begun, mut last) = (Instant::now(), None);
        while begun.elapsed() < PATIENCE {
            if let Some(value) = self.query(query).await {
                if is_right(value) {
                    return value;
                }
                last = Some(value);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("`{query}` is {last:?}");
    }

    async fn query(&self, query: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let body = format!("query={}", encoded(query));
        let request = format!(
            "POST /api/v1/query HTTP/1.0\r\nHost: prometheus\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, json) = answer.split_once("\r\n\r\n")?;
        let json: serde_json::Value = serde_json::from_str(json).ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
