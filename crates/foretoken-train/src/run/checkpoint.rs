//! What a run needs to go on as if nothing had happened: parameters, moments, place in the text, history.
//!
//! Random numbers are functions of the seed and of how far the run is, so there is no state of theirs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::RunError;
use super::folder::{sync_file, write_file};
use super::history::History;
use super::tensors::TensorFile;
use crate::data::Position;
use crate::optimizer::AdamW;
use crate::parameters::Parameters;
use crate::weights::{StoredAs, Tensor, write_tensors};

const STATE: &str = "state.json";
pub(super) const HISTORY: &str = "history.jsonl";
/// Version of the format; another one is another run's.
const FORMAT: &str = "1";

/// Settings that two runs must share to be one, by name, in an order that stays.
pub(super) type Identity = Vec<(&'static str, String)>;

/// Where a run is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) done: u64,
    pub(super) position: Position,
    pub(super) history: History,
}

/// Writes everything but tensors.
pub(super) fn save_state(
    folder: &Path,
    identity: &Identity,
    state: &State,
) -> Result<(), RunError> {
    let State { done, position: Position { epoch, document, row }, history } = state;
    let identity: Map<_, _> =
        identity.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let object = json!({
        "format": FORMAT,
        "run": identity,
        "done": done,
        "position": { "epoch": epoch, "document": document, "row": row },
    });
    write_file(&folder.join(STATE), format!("{object:#}\n").as_bytes())?;
    write_file(&folder.join(HISTORY), history.text().as_bytes())
}

/// Reads it again; `output` is the folder that messages name.
///
/// # Errors
/// If it is another run's, or damaged.
pub(super) fn load_state(
    folder: &Path,
    output: &Path,
    identity: &Identity,
) -> Result<State, RunError> {
    let path = folder.join(STATE);
    let text = fs::read(&path).map_err(read_error(&path))?;
    let object: Value = serde_json::from_slice(&text)
        .map_err(|cause| RunError::Damaged { file: path.clone(), cause: cause.to_string() })?;
    let layout = ("layout", FORMAT.to_owned());
    let settings = identity.iter().map(|setting| (setting, &object["run"][setting.0]));
    for ((what, wanted), found) in std::iter::once((&layout, &object["format"])).chain(settings) {
        let found = found.as_str().unwrap_or("unknown");
        if found != wanted {
            let (folder, what) = (output.to_owned(), *what);
            let (found, wanted) = (found.to_owned(), wanted.clone());
            return Err(RunError::OtherRun { folder, what, found, wanted });
        }
    }
    let number = |value: &Value| value.as_u64();
    let position = &object["position"];
    let numbers =
        [&object["done"], &position["epoch"], &position["document"], &position["row"]].map(number);
    let [Some(done), Some(epoch), Some(document), Some(row)] = numbers else {
        return Err(RunError::Damaged { file: path, cause: "a number is missing".to_owned() });
    };
    let position = Position { epoch, document: document as usize, row: row as usize };
    let path = folder.join(HISTORY);
    let text = fs::read_to_string(&path).map_err(read_error(&path))?;
    Ok(State { done, position, history: History::from_text(text) })
}

fn tensors_file(folder: &Path, group: usize) -> PathBuf {
    folder.join(format!("group-{group}.safetensors"))
}

/// Writes a set of parameters with its moments.
pub(super) fn save_group(
    folder: &Path,
    group: usize,
    parameters: &Parameters,
    optimizer: &AdamW,
) -> Result<(), RunError> {
    let path = tensors_file(folder, group);
    let values = parameters
        .as_slice()
        .iter()
        .map(|parameter| (parameter.name.clone(), parameter.tensor(StoredAs::F32)));
    let moments = optimizer.tensors().map(|(name, values)| {
        (name, Tensor { shape: vec![values.len()].into(), values, stored: StoredAs::F32 })
    });
    let written = write_tensors(values.chain(moments), None, &path);
    written.map_err(|cause| RunError::Write { path: path.clone(), cause: cause.to_string() })?;
    sync_file(&path)
}

/// Reads it again.
///
/// # Errors
/// If the file is damaged, or its tensors are those of other parameters; some may be read by then.
pub(super) fn load_group(
    folder: &Path,
    group: usize,
    parameters: &mut Parameters,
    (optimizer, done): (&mut AdamW, u64),
) -> Result<(), RunError> {
    let mut tensors = TensorFile::open(&tensors_file(folder, group))?;
    for parameter in parameters.as_mut_slice() {
        tensors.read(&parameter.name, &mut parameter.values)?;
    }
    optimizer.restore(done, |name, values| tensors.read(name, values))
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
    move |cause| RunError::Read { path: path.to_owned(), cause }
}
