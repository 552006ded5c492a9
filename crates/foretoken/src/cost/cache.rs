//! Cost curves kept as small files, so that a machine measures a model once per build.
//!
//! A cache is a hint: whatever it cannot read, or does not recognise, is measured anew, and a folder that
//! cannot be written is left alone. The folder and the name of the build are the caller's to choose.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use foretoken_cpu::machine_name;
use foretoken_model::{ForwardError, Target};
use serde_json::{Value, json};

use super::{CostCurve, Progress};

/// Whether an engine measures at load what a pass of its target costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MeasureCost {
    /// No; loading takes no longer.
    #[default]
    Never,
    /// On every load.
    Always,
    /// Unless the cache knows.
    Cached(CostCache),
}

/// A folder of measured curves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostCache {
    /// Where the files are; made when the first is written.
    pub folder: PathBuf,
    /// Names the build of the program, since another may have other kernels.
    pub build: String,
}

/// Files longer than this are none of ours.
const LONGEST: u64 = 64 << 10;

impl MeasureCost {
    /// The curve of a target on so many threads, if one is wanted.
    pub(crate) fn curve(
        &self,
        target: &mut dyn Target,
        threads: usize,
        weight_bytes: usize,
        progress: Progress<'_>,
    ) -> Result<Option<CostCurve>, ForwardError> {
        let cache = match self {
            Self::Never => return Ok(None),
            Self::Always => return CostCurve::measure(target, progress).map(Some),
            Self::Cached(cache) => cache,
        };
        let key = cache.key(target, threads, weight_bytes);
        if let Some(known) = cache.load(&key) {
            return Ok(Some(known));
        }
        let curve = CostCurve::measure(target, progress)?;
        // What cannot be kept is measured again the next time.
        let _ = cache.store(&key, &curve);
        Ok(Some(curve))
    }
}

impl CostCache {
    /// Everything that a curve depends on, in words.
    fn key(&self, target: &dyn Target, threads: usize, weight_bytes: usize) -> String {
        let shape = hash(&format!("{:?}", target.spec()));
        format!(
            "{}; build {}; {threads} threads; {}; shape {shape:016x}; {weight_bytes} bytes",
            machine_name(),
            self.build,
            target.domain(),
        )
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("cost-{:016x}.json", hash(key)))
    }

    /// The curve that was stored under `key`.
    pub(super) fn load(&self, key: &str) -> Option<CostCurve> {
        let mut text = String::new();
        File::open(self.file(key)).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        let object: Value = serde_json::from_str(&text).ok()?;
        if object["key"].as_str()? != key {
            return None;
        }
        let points = object["points"].as_array()?.iter().map(|point| {
            let [rows, seconds] = point.as_array()?.as_slice() else { return None };
            Some((usize::try_from(rows.as_u64()?).ok()?, seconds.as_f64()?))
        });
        CostCurve::new(points.collect::<Option<_>>()?)
    }

    /// Writes a curve beside its place and moves it there, so that no reader meets half a file.
    pub(super) fn store(&self, key: &str, curve: &CostCurve) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let file = self.file(key);
        let aside = file.with_extension(format!("{}.tmp", std::process::id()));
        let object = json!({ "key": key, "points": curve.points() });
        let written = write(&aside, &object).and_then(|()| fs::rename(&aside, &file));
        written.inspect_err(|_| {
            // What could not be written may not be there either.
            let _ = fs::remove_file(&aside);
        })
    }
}

fn write(path: &Path, object: &Value) -> io::Result<()> {
    writeln!(File::create(path)?, "{object}")
}

/// The same in every run of a build.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
