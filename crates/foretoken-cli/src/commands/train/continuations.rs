//! A model's own continuations of prompts, as text to learn from (self-distillation). They end where they begin to
//! loop: a loop is easy to guess, and nobody wants the text.
//!
//! They are written block by block to a file aside, which is moved to its place when it is whole; a run that ends
//! early goes on behind the last whole line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use foretoken::{
    Engine, EngineOptions, Event, Request, RequestId, SamplingParams, TokenId, loop_free_len,
};
use foretoken_train::data::Corpus;
use serde_json::{Value, json};

use crate::args::TrainArgs;
use crate::error::Error;
use crate::progress::Bar;
use crate::{engine, output};

/// Requests whose continuations are written together.
const BLOCK: usize = 256;
/// Requests that run together.
const TOGETHER: usize = 32;
/// Most tokens of a prompt that is cut from a text.
const PROMPT: usize = 64;

const WHOLE: &str = "continuations.jsonl";
const PART: &str = "continuations.part.jsonl";
const SETTINGS: &str = "continuations.json";

/// Flags of self-distillation.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Self-distillation options")]
pub(super) struct DistillArgs {
    /// Learn from N continuations by the model itself instead: of the data's conversations up to their first
    /// answer, and of the first 64 tokens, at most half, of other text. They end where they begin to loop
    #[arg(long, value_name = "N")]
    pub(super) self_distill: Option<NonZeroUsize>,

    /// Temperature of the continuations; 0 takes the likeliest tokens
    #[arg(long, value_name = "T", default_value_t = 0.8, requires = "self_distill")]
    temperature: f64,

    /// Most tokens of a continuation
    #[arg(
        long,
        value_name = "N",
        default_value_t = const { NonZeroUsize::new(256).unwrap() },
        requires = "self_distill"
    )]
    max_tokens: NonZeroUsize,
}

impl DistillArgs {
    fn sampling(&self) -> SamplingParams {
        SamplingParams { temperature: self.temperature, ..<_>::default() }
    }

    /// Finds values out of range before anything is read.
    pub(super) fn check(&self) -> Result<(), Error> {
        Ok(self.sampling().validate(usize::MAX)?)
    }
}

/// What is continued, and by which model.
pub(super) struct Continuations<'a> {
    pub(super) count: NonZeroUsize,
    pub(super) args: &'a DistillArgs,
    pub(super) train: &'a TrainArgs,
    pub(super) prompts: &'a Corpus,
    pub(super) options: EngineOptions,
    /// The model's name.
    pub(super) model: &'a str,
}

impl Continuations<'_> {
    /// The file of continuations in the output folder; makes those that are missing.
    pub(super) fn file(self) -> Result<PathBuf, Error> {
        let out = &self.train.out;
        fs::create_dir_all(out).map_err(|cause| Error::write(out, cause))?;
        let (whole, part) = (out.join(WHOLE), out.join(PART));
        self.claim(&out.join(SETTINGS), [&whole, &part])?;
        if !whole.exists() {
            self.complete(&part)?;
            fs::rename(&part, &whole).map_err(|cause| Error::write(&whole, cause))?;
        }
        Ok(whole)
    }

    /// Makes sure that what is there was made with these settings.
    fn claim(&self, file: &Path, made: [&PathBuf; 2]) -> Result<(), Error> {
        let settings = json!({
            "model": self.model,
            "format": self.options.format.map_or("as stored", |format| format.name()),
            "data": format!("{:016x}", self.prompts.fingerprint()),
            "count": self.count,
            "temperature": self.args.temperature,
            "max_tokens": self.args.max_tokens,
            "seed": self.train.seed,
        });
        if file.exists() {
            let text = fs::read(file).map_err(|cause| Error::read(file, cause))?;
            let found: Value = serde_json::from_slice(&text).unwrap_or_default();
            let differs = settings.as_object().into_iter().flatten();
            let mut differs = differs.filter(|(key, value)| found.get(key) != Some(value));
            match differs.next() {
                None => return Ok(()),
                Some(_) if self.train.restart => {}
                Some((key, wanted)) => {
                    return Err(Error::failure(format!(
                        "`{}` says that the continuations there have {key} {}, not {wanted}; name another \
                         folder, or begin anew with --restart",
                        file.display(),
                        found.get(key).unwrap_or(&Value::Null)
                    )));
                }
            }
        }
        for made in made.into_iter().filter(|made| made.exists()) {
            fs::remove_file(made).map_err(|cause| Error::write(made, cause))?;
        }
        fs::write(file, format!("{settings:#}\n")).map_err(|cause| Error::write(file, cause))
    }

    /// Writes the lines that are missing.
    fn complete(&self, part: &Path) -> Result<(), Error> {
        let done = whole_lines(part).map_err(|cause| Error::write(part, cause))?;
        let options = EngineOptions { max_sequences: TOGETHER, ..self.options.clone() };
        let mut engine = engine::load(&options)?;
        let prompts = self.usable(engine.target().context())?;
        let count = self.count.get();
        let mut bar = Bar::new("continuing texts with");
        let mut tokens = 0;
        for first in (done..count).step_by(BLOCK) {
            let wanted = first..count.min(first + BLOCK);
            let requests = wanted.map(|index| self.request(index, &prompts));
            let made = generate(&mut engine, requests, &mut |finished| {
                bar.update(self.model, first + finished, count);
            })?;
            tokens += made.iter().map(|made| made.tokens.len() - made.prompt).sum::<usize>();
            append(part, &made).map_err(|cause| Error::write(part, cause))?;
        }
        bar.clear();
        output::note(&format!("{} continuations with {tokens} tokens", count - done));
        Ok(())
    }

    /// Documents whose prompts leave room for an answer, as their number and the prompt's length.
    fn usable(&self, context: usize) -> Result<Vec<(usize, usize)>, Error> {
        let prompt = |index| {
            let (tokens, learned) = self.prompts.document(index);
            let given = learned.iter().take_while(|learned| !**learned).count();
            let cut = || (tokens.len() / 2).clamp(1, PROMPT);
            (index, if given > 0 { given } else { cut() })
        };
        let prompts = (0..self.prompts.len()).map(prompt);
        let prompts: Vec<_> = prompts.filter(|(_, length)| *length + 1 < context).collect();
        if prompts.is_empty() {
            let cause = format!("no text of --data has a prompt shorter than {context} tokens");
            return Err(Error::failure(cause));
        }
        Ok(prompts)
    }

    /// The request `index`, over documents evenly apart, and over all again where there are fewer.
    fn request(&self, index: usize, prompts: &[(usize, usize)]) -> Request {
        let (count, there) = (self.count.get(), prompts.len());
        let chosen = if count < there { index * there / count } else { index % there };
        let (document, length) = prompts[chosen];
        let (tokens, _) = self.prompts.document(document);
        Request {
            sampling: self.args.sampling(),
            seed: Some(self.train.seed),
            choice: index as u32,
            max_tokens: Some(self.args.max_tokens.get()),
            ..Request::new(tokens[..length].to_vec())
        }
    }
}

/// A prompt with what the model wrote behind it.
struct Continuation {
    tokens: Vec<TokenId>,
    /// How many of them are the prompt's.
    prompt: usize,
}

/// Continuations in the order of their requests.
fn generate(
    engine: &mut Engine,
    requests: impl Iterator<Item = Request>,
    told: &mut dyn FnMut(usize),
) -> Result<Vec<Continuation>, Error> {
    let mut waiting: HashMap<RequestId, usize> = HashMap::new();
    let mut made = Vec::new();
    for request in requests {
        let tokens = request.prompt.clone();
        waiting.insert(engine.submit(request)?, made.len());
        made.push(Continuation { prompt: tokens.len(), tokens });
    }
    let (mut events, mut finished) = (Vec::new(), 0);
    while !engine.is_idle() {
        engine.step(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Token(..) => {}
                Event::Finished(id, completion) => {
                    finished += 1;
                    told(finished);
                    let written = &completion.tokens[..loop_free_len(&completion.tokens)];
                    made[waiting[&id]].tokens.extend_from_slice(written);
                }
                Event::Failed(_, cause) => return Err(cause.into()),
            }
        }
    }
    Ok(made)
}

/// Adds lines to a file and waits until they are on the disk.
fn append(file: &Path, made: &[Continuation]) -> io::Result<()> {
    let mut text = String::new();
    for Continuation { tokens, prompt } in made {
        text.push_str(&json!({ "tokens": tokens, "prompt": prompt }).to_string());
        text.push('\n');
    }
    let mut file = File::options().create(true).append(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Counts the lines of a file, if there is one, and cuts off what a process that died has begun.
fn whole_lines(file: &Path) -> io::Result<usize> {
    let text = match fs::read(file) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text?,
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    File::options().write(true).open(file)?.set_len(whole as u64)?;
    Ok(text[..whole].split_inclusive(|byte| *byte == b'\n').count())
}
