//! The models under test: small random checkpoints and the built-in pair.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use foretoken::{EngineOptions, Isa, KvType, MedusaSource, ModelSource, TokenId, WeightFormat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::heads::{self, Output, random_heads};

/// Tokens of a small model.
pub(crate) const VOCAB: usize = 96;
/// Its ends of text, so many that a text meets one soon.
pub(crate) const EOS: [TokenId; 8] = [2, 13, 24, 35, 46, 57, 68, 79];
/// Positions its texts may have; more than its files say, since it was never trained.
pub(crate) const CONTEXT: usize = 320;

/// A small random checkpoint, with a tokenizer whose every token is one letter.
pub(crate) struct Tiny {
    folder: TempDir,
    heads: TempDir,
}

impl Tiny {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = root().join("testdata/checkpoints").join(name);
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let vocab: Vec<String> =
            (0..VOCAB as TokenId).map(|id| format!("\"{}\":{id}", letter(id))).collect();
        let tokenizer = format!(
            "{{\"model\":{{\"type\":\"BPE\",\"vocab\":{{{}}},\"merges\":[]}}}}",
            vocab.join(",")
        );
        fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        let ends = format!("{{\"eos_token_id\":{EOS:?}}}");
        fs::write(folder.path().join("generation_config.json"), ends).unwrap();
        let heads = random_heads(&ModelSource::Folder(folder.path().to_owned()), Output::Own, 1);
        Self { folder, heads }
    }

    /// Random Medusa heads for it.
    pub(crate) fn heads(&self) -> MedusaSource {
        heads::source(&self.heads)
    }

    /// Adds rows to the vocabulary's matrices that no token has, three times those of tokens: where they
    /// are not cut off, they win.
    pub(crate) fn padded(self) -> Self {
        rewrite_rows(self.folder.path(), 2 * VOCAB, |rows| {
            let (values, _) = rows.as_chunks::<4>();
            let tripled = values.iter().map(|&bytes| 3.0 * f32::from_le_bytes(bytes));
            [rows, &tripled.flat_map(f32::to_le_bytes).collect::<Vec<_>>()].concat()
        });
        self
    }

    /// Gives every token another id and the spelling that `spell` says; those of several letters come with
    /// the merge that makes them.
    pub(crate) fn respelled(self, spell: impl Fn(TokenId) -> String) -> Self {
        let order: Vec<usize> = (0..VOCAB).map(|id| (5 * id + 3) % VOCAB).collect();
        rewrite_rows(self.folder.path(), VOCAB, |rows| {
            let width = rows.len() / VOCAB;
            order.iter().flat_map(|&id| &rows[id * width..][..width]).copied().collect()
        });
        let pieces: Vec<String> = order.iter().map(|&id| spell(id as TokenId)).collect();
        let vocab: serde_json::Map<_, _> =
            pieces.iter().zip(0..).map(|(piece, id)| (piece.clone(), json!(id))).collect();
        let merges = pieces.iter().filter_map(|piece| {
            let mut letters = piece.chars();
            let left = letters.next()?;
            Some(letters.as_str())
                .filter(|right| !right.is_empty())
                .map(|right| json!([left, right]))
        });
        let tokenizer =
            json!({"model": {"type": "BPE", "vocab": vocab, "merges": merges.collect::<Vec<_>>()}});
        fs::write(self.folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        self
    }

    pub(crate) fn source(&self) -> ModelSource {
        ModelSource::Folder(self.folder.path().to_owned())
    }
}

/// Changes the rows of a model's vocabulary, of which there are `count` afterwards.
fn rewrite_rows(folder: &Path, count: usize, change: impl Fn(&[u8]) -> Vec<u8>) {
    let weights = folder.join("model.safetensors");
    let file = fs::read(&weights).unwrap();
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let mut out = Vec::new();
    for (name, tensor) in header.as_object_mut().unwrap() {
        let Some(ends) = tensor.get("data_offsets") else { continue };
        let [from, to] = [0, 1].map(|end| ends[end].as_u64().unwrap() as usize);
        let start = out.len();
        if name.contains("embed_tokens") || name.contains("lm_head") {
            out.extend(change(&data[from..to]));
            tensor["shape"][0] = json!(count);
        } else {
            out.extend_from_slice(&data[from..to]);
        }
        tensor["data_offsets"] = json!([start, out.len()]);
    }
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&weights, [&length[..], header.as_bytes(), &out].concat()).unwrap();
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["vocab_size"] = json!(count);
    fs::write(path, config.to_string()).unwrap();
}

/// What a token of a small model writes.
pub(crate) fn letter(id: TokenId) -> char {
    char::from_u32(0xC0 + id).unwrap()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn demo() -> ModelSource {
    ModelSource::Folder(root().join("models/foretoken-demo"))
}

pub(crate) fn demo_draft() -> ModelSource {
    ModelSource::Folder(root().join("models/foretoken-demo-draft"))
}

pub(crate) fn demo_heads() -> MedusaSource {
    MedusaSource::Folder(ModelSource::Folder(root().join("models/foretoken-demo-medusa")))
}

/// The built-in draft with its tokens in another order; the tokens of the last `gone` merges are spelled so
/// that no text leads to them.
pub(crate) fn shuffled_demo_draft(gone: usize) -> TempDir {
    const SPECIAL: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let ModelSource::Folder(from) = demo_draft() else { panic!("the demo is a folder") };
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let path = folder.path().join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let model = &mut file["model"];
    let merges = model["merges"].as_array_mut().unwrap();
    merges.truncate(merges.len() - gone);
    let vocab = model["vocab"].as_object().unwrap().clone();
    let count = vocab.len();
    let moved = |id: usize| {
        if id < SPECIAL { id } else { SPECIAL + (7 * (id - SPECIAL) + 5) % (count - SPECIAL) }
    };
    let renamed = vocab.into_iter().map(|(piece, id)| {
        let id = id.as_u64().unwrap() as usize;
        let piece = if id < count - gone { piece } else { format!("☐{id}") };
        (piece, json!(moved(id)))
    });
    model["vocab"] = Value::Object(renamed.collect());
    fs::write(path, file.to_string()).unwrap();
    rewrite_rows(folder.path(), count, |rows| {
        let width = rows.len() / count;
        let mut out = vec![0; rows.len()];
        for (id, row) in rows.chunks(width).enumerate() {
            out[moved(id) * width..][..width].copy_from_slice(row);
        }
        out
    });
    folder
}

/// What the bits of a text depend on, besides the model and the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Domain {
    pub(crate) format: WeightFormat,
    pub(crate) kv: KvType,
    pub(crate) isa: Option<Isa>,
}

impl Domain {
    pub(crate) const F32: Self = Self { format: WeightFormat::F32, kv: KvType::F32, isa: None };
}

/// A domain per weight format.
pub(crate) const DOMAINS: [Domain; 4] = [
    Domain::F32,
    Domain { format: WeightFormat::Bf16, kv: KvType::Bf16, isa: None },
    Domain { format: WeightFormat::Q8_0, kv: KvType::Bf16, isa: None },
    Domain { format: WeightFormat::Q4_0, kv: KvType::Bf16, isa: None },
];

/// Options of an engine without registered drafters; drafts may have 200 nodes.
pub(crate) fn options(source: ModelSource, domain: Domain, threads: usize) -> EngineOptions {
    let mut options = EngineOptions::new(source);
    "none".clone_into(&mut options.drafter);
    options.format = Some(domain.format);
    options.draft_format = Some(domain.format);
    options.kv_type = Some(domain.kv);
    options.isa = domain.isa;
    options.context = Some(CONTEXT);
    options.threads = NonZeroUsize::new(threads);
    options.draft.tokens = Some(200);
    options.max_sequences = 3;
    options
}

/// A prompt that no other seed gives.
pub(crate) fn prompt(length: usize, seed: u64) -> Vec<TokenId> {
    let mut dice = crate::oracle::Dice(seed);
    (0..length).map(|_| dice.roll(VOCAB) as TokenId).collect()
}
