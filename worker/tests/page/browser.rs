//! Runs the scripts in node, after npm has brought what they need, as their lock file says.

use crate::site::Site;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

/// In the package, where cargo runs its tests.
const SCRIPTS: &str = "tests/page";

/// One browser at a time: several would only wait for each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Where `node_modules` is, with what the lock file names in it.
fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        fs::create_dir_all(&folder).unwrap();
        let lock = fs::read_to_string(Path::new(SCRIPTS).join("package-lock.json")).unwrap();
        let installed = folder.join("installed");
        if fs::read_to_string(&installed).is_ok_and(|it| it == lock) {
            return folder;
        }
        for name in ["package.json", "package-lock.json"] {
            fs::copy(Path::new(SCRIPTS).join(name), folder.join(name)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
        let output = npm.output().unwrap_or_else(|error| {
            panic!("npm cannot be run: {error}: `apt-get install nodejs npm`, or run scripts/test")
        });
        assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(installed, lock).unwrap();
        folder
    })
}

/// Runs a case; what it asks for is done to the site.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what a case has seen")]
pub(crate) fn run(case: &str, mut site: Site) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut node = Node(
        Command::new("node")
            .args([&format!("{SCRIPTS}/browser.js"), case, &site.url()])
            .env("FOREBAY_PAGE_MODULES", modules())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("node cannot be run: {error}: `apt-get install nodejs`, or run scripts/test")
            }),
    );
    let mut stdin = node.0.stdin.take().unwrap();
    let mut stderr = node.0.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut passed = false;
    for line in BufReader::new(node.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("ask ") {
            Some(what) => {
                site.act(what);
                writeln!(stdin, "done").unwrap();
            }
            None => passed |= line == "passed",
        }
    }
    let status = node.0.wait().unwrap();
    let said = said.join().unwrap();
    print!("{said}");
    assert!(status.success() && passed, "{said}\nthe worker's log:\n{}", site.log());
}

/// The browser's keeper. Ended with the test, and the browser with it.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // Fails where it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
