//! TLS is checked in full: who signed the certificate, and for which host.

use crate::support::inbox;
use forebay::MessageId;
use forebay_conformance::Cluster;
use forebay_postgres::{PgPool, PoolOptions, Transaction};
use std::{path::Path, process::Command, time::Duration};

/// A certificate authority, and a certificate by it for `localhost`, made by the `openssl` tool.
fn certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(directory).args(arguments.split(' '));
        let status = command.stderr(std::process::Stdio::null()).status().unwrap();
        assert!(status.success(), "{command:?} failed");
    };
    std::fs::write(directory.join("san.txt"), "subjectAltName=DNS:localhost").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    openssl(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san.txt -out server.pem",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sslmode_require_the_connection_is_encrypted_and_checked() {
    let cluster = Cluster::start(&[
        "fsync = off",
        "ssl = on",
        "ssl_cert_file = 'server.pem'",
        "ssl_key_file = 'server.key'",
    ]);
    let files = tempfile::tempdir().unwrap();
    certificates(files.path());
    for name in ["server.pem", "server.key"] {
        let path = cluster.data().join(name);
        std::fs::copy(files.path().join(name), &path).unwrap();
        cluster.give(&path);
    }
    cluster.up();
    let options = |host: &str, ca: &str| {
        let url = format!("postgres://postgres@{host}:{}/postgres?sslmode=require", cluster.port());
        PoolOptions::new(url).ca_file(files.path().join(ca))
    };
    let pool = PgPool::connect(options("localhost", "ca.pem")).await.unwrap();
    let tx = pool.begin().await.unwrap();
    let rows =
        tx.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(rows[0].get::<_, bool>(0), "encrypted");
    tx.commit().await.unwrap();
    // Calling a statement off speaks TLS too.
    let inbox = inbox(&pool).await;
    let run = inbox.run_as(&MessageId::from(1), async |tx: &Transaction| {
        tx.batch_execute("SELECT pg_sleep(60)").await
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), run).await.is_err());
    let plain = crate::support::client(&cluster.url()).await;
    crate::support::eventually("it is called off", Duration::from_secs(5), || async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        plain.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;

    let refused = async |host: &str, ca: &str| {
        PgPool::connect(options(host, ca)).await.unwrap_err().to_string()
    };
    let signer = refused("localhost", "other.pem").await;
    assert!(signer.contains("UnknownIssuer"), "{signer}");
    let host = refused("127.0.0.1", "ca.pem").await;
    assert!(host.contains("not valid for name"), "{host}");
    let system = PoolOptions::new(options("localhost", "ca.pem").url);
    assert!(PgPool::connect(system).await.is_err(), "the system does not trust it");
    let empty = refused("localhost", "server.key").await;
    assert!(empty.contains("`ca_file`"), "{empty}");
}
