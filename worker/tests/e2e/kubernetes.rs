//! The manifests of docs/kubernetes, against the schemas of Kubernetes and of KEDA.

use crate::python::{in_repository, python};
use std::{fs, path::Path, process::Command};

/// What the validator says of these files, and whether it is content.
fn validate(manifests: &[&Path]) -> (bool, String) {
    let output = Command::new(python())
        .arg(in_repository("worker/tests/e2e/kubernetes.py"))
        .arg(in_repository("docs/kubernetes/scaledobject.schema.json"))
        .args(manifests)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[test]
fn the_manifests_are_what_kubernetes_and_keda_take() {
    let files: Vec<_> = fs::read_dir(in_repository("docs/kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    let (sound, text) = validate(&files.iter().map(|file| &**file).collect::<Vec<_>>());
    assert!(sound, "{text}");
    for kind in [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "ScaledObject",
        "Service",
    ] {
        assert!(text.contains(&format!(": {kind}\n")), "there is no {kind}: {text}");
    }
}

#[test]
fn the_page_shows_the_manifests_as_they_are() {
    let page = fs::read_to_string(in_repository("docs/kubernetes.md")).unwrap();
    for file in ["worker", "scaler", "keda", "hpa"] {
        let path = in_repository(&format!("docs/kubernetes/{file}.yaml"));
        let text = fs::read_to_string(path).unwrap();
        assert!(
            page.contains(&format!("```yaml\n{text}```\n")),
            "kubernetes.md has another {file}"
        );
    }
}

/// Else the first test would prove nothing.
#[test]
fn what_they_would_not_take_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (file, right, wrong) in [
        ("worker.yaml", "terminationGracePeriodSeconds: 40", "terminationGracePeriod: 40"),
        ("worker.yaml", "failureThreshold: 60", "failureThreshold: many"),
        ("worker.yaml", "maxUnavailable: 1", "maxUnavailabel: 1"),
        ("hpa.yaml", "averageValue: \"1\"", "averageValu: \"1\""),
        ("keda.yaml", "maxReplicaCount: 20", "maxReplicas: 20"),
        ("keda.yaml", "scalerAddress:", "scalerAddress: 1 #"),
    ] {
        let text = fs::read_to_string(in_repository("docs/kubernetes").join(file)).unwrap();
        assert!(text.contains(right), "{file} has no `{right}`");
        let spoilt = folder.path().join(file);
        fs::write(&spoilt, text.replace(right, wrong)).unwrap();
        let (sound, text) = validate(&[&spoilt]);
        assert!(!sound, "`{wrong}` was taken: {text}");
    }
}
