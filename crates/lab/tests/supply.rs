//! What the programs are made of besides our own code: from where it comes, under which licence, and whether README.md says so.
//!
//! `cargo deny` looks at more where it is installed, see `.ci/run`. This needs nothing but cargo.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    source: Option<String>,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<PathBuf>,
}

/// All packages that any of our crates needs, on any machine.
fn packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--format-version=1"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

/// The licences that `.ci/deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Deny {
        licenses: Licenses,
    }
    #[derive(Deserialize)]
    struct Licenses {
        allow: BTreeSet<String>,
    }
    let text = std::fs::read_to_string(root().join(".ci/deny.toml")).unwrap();
    toml::from_str::<Deny>(&text).unwrap().licenses.allow
}

/// Whether an SPDX expression can be met with these licences. `None` where it is none.
///
/// ```text
/// any  = all { ("OR" | "/") all }
/// all  = one { "AND" one }
/// one  = "(" any ")" | licence [ "WITH" exception ]
/// ```
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, allowed)?;
    rest.is_empty().then_some(met)
}

fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all(words, allowed)?;
    }
    Some(met)
}

fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any(words, allowed)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(met)
        }
        [")" | "AND" | "OR" | "WITH", ..] | [] => None,
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        [licence, rest @ ..] => {
            *words = rest;
            Some(allowed.contains(*licence))
        }
    }
}

#[test]
fn expressions_are_read_as_they_are_meant() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    let met = |expression| is_met(expression, &allowed);
    for expression in ["MIT", "GPL-3.0-only OR MIT", "GPL-2.0/MIT", "ISC AND (Zlib OR MIT)", "((MIT))"] {
        assert_eq!(met(expression), Some(true), "{expression}");
    }
    assert_eq!(met("GPL-2.0-only AND ISC OR MIT"), Some(true), "AND before OR");
    assert_eq!(met("Apache-2.0 WITH LLVM-exception AND MIT"), Some(true));
    for expression in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR ISC) AND Zlib", "Apache-2.0", "mit"] {
        assert_eq!(met(expression), Some(false), "{expression}");
    }
    for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "see LICENSE file"] {
        assert_eq!(met(expression), None, "{expression}");
    }
}

#[test]
fn each_package_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    assert!(allowed.contains("MIT") && !allowed.iter().any(|licence| licence.contains("GPL")));
    for Package { id, license, .. } in packages() {
        let license = license.unwrap_or_default();
        assert_eq!(
            is_met(&license, &allowed),
            Some(true),
            "{id}: {license:?} is not allowed by .ci/deny.toml"
        );
    }
}

/// The files that say which version of each package is taken, with those of the fuzz targets.
fn locks() -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let fuzz = crates.map(|entry| entry.unwrap().path().join("fuzz"));
    let mut locks: Vec<_> = fuzz.filter(|dir| dir.exists()).map(|dir| dir.join("Cargo.lock")).collect();
    assert!(locks.len() >= 4, "{locks:?}");
    locks.push(root().join("Cargo.lock"));
    locks
}

#[test]
fn each_package_is_ours_or_from_crates_io_with_a_checksum() {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        source: Option<String>,
        checksum: Option<String>,
    }
    let packages = packages();
    let ours = packages.iter().filter(|package| package.source.is_none());
    let ours: BTreeSet<_> = ours.map(|package| package.name.as_str()).collect();
    for package in &packages {
        assert!(package.source.as_deref().is_none_or(|source| source == CRATES_IO), "{}", package.id);
    }
    for path in locks() {
        let text = std::fs::read_to_string(&path).unwrap();
        for Locked { name, source, checksum } in toml::from_str::<Lock>(&text).unwrap().package {
            let is_sum = |sum: &str| sum.len() == 64 && sum.bytes().all(|digit| digit.is_ascii_hexdigit());
            let is_good = match &source {
                Some(source) => source == CRATES_IO && checksum.as_deref().is_some_and(is_sum),
                None => ours.contains(name.as_str()) || name.ends_with("-fuzz"),
            };
            assert!(is_good, "{}: {name} from {source:?}, checksum {checksum:?}", path.display());
        }
    }
}

#[test]
fn the_readme_names_what_our_code_uses() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages().into_iter().filter(|package| package.source.is_none()) {
        let foreign = package.dependencies.into_iter().filter(|dependency| dependency.path.is_none());
        for dependency in foreign {
            used.entry(dependency.name).or_default().insert(package.name.clone());
        }
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("### What it stands on\n").unwrap();
    let rows = section.lines().skip_while(|line| line.is_empty()).take_while(|line| line.starts_with('|'));
    // Every second piece stands between backticks.
    let named: BTreeSet<_> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    for (name, by) in &used {
        assert!(
            named.contains(name.as_str()),
            "README.md, What it stands on: {name} is missing, which {by:?} use"
        );
    }
    for name in &named {
        assert!(used.contains_key(*name), "README.md, What it stands on: nothing of ours uses {name}");
    }
}
