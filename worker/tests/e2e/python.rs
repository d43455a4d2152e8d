//! Python with what the tests need of PyPI, in a folder of its own below the target folder.

use std::{
    fs,
    path::{self, Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// What is installed, by name.
const PACKAGES: [&str; 2] = ["grpcio-tools", "kubernetes-validate"];

/// An interpreter that has them. It is made by the first test of a run that wants it, and is there for
/// the next run.
pub(crate) fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let (python, done) = (folder.join("bin/python"), folder.join("installed"));
        let wanted = PACKAGES.join("\n");
        if fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
            return python;
        }
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv", "--clear"]).arg(&folder));
        let mut pip = Command::new(&python);
        run(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES));
        fs::write(&done, wanted).unwrap();
        python
    });
    &PYTHON
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} (it needs python3 with venv, and PyPI): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A file of this repository. Cargo runs tests in the package's folder.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    path::absolute(Path::new("..").join(path)).unwrap()
}
