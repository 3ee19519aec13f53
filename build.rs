//! Tells the program which commit, features and target it was built from, for `outrider --version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=OUTRIDER_COMMIT");
    println!("cargo::rustc-env=OUTRIDER_COMMIT={}", commit());
    println!("cargo::rustc-env=OUTRIDER_FEATURES={}", features());
    println!("cargo::rustc-env=OUTRIDER_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

/// `OUTRIDER_COMMIT` where there is no repository. A debug build is not asked: it would be built anew for every commit.
fn commit() -> String {
    if let Ok(commit) = std::env::var("OUTRIDER_COMMIT") {
        return commit;
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        println!("cargo::rerun-if-changed=build.rs");
        return "unknown (debug build)".to_owned();
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if dirty { format!("{commit} with changes") } else { commit }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn features() -> String {
    let mut features: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|feature| feature != "default")
        .collect();
    features.sort();
    if features.is_empty() { "none".to_owned() } else { features.join(" ") }
}
