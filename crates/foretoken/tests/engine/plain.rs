//! Plain decoding written out: one token per pass, from the first of the prompt on. It knows neither
//! engine nor drafts, and is what everything else is compared with.

use std::num::NonZeroUsize;
use std::sync::Arc;

use foretoken::{Checkpoint, ModelSource, OpenOptions, SamplingParams, Target, TokenId};
use foretoken_core::{DraftTree, MAX_NODES, NodeId, Noise, Sampler};
use foretoken_cpu::{CpuBackend, CpuOptions};
use foretoken_model::{KvPosition, LoadOptions, Model, SequenceId, Wants};

use crate::models::{CONTEXT, Domain};

pub(crate) struct Plain {
    model: Model<CpuBackend>,
}

/// A text with the bits that stand behind it.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// Prompt and output.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) prompt: usize,
    /// Per output token, the row that decided it.
    pub(crate) rows: Vec<Vec<u32>>,
    /// Per output token, the hidden state that decided it.
    pub(crate) hidden: Vec<Vec<u32>>,
    /// Per position but the last: keys and values of all layers and heads.
    pub(crate) cache: Vec<Vec<u32>>,
}

impl Text {
    pub(crate) fn output(&self) -> &[TokenId] {
        &self.tokens[self.prompt..]
    }
}

/// A model of its own, with room for three sequences of a context.
pub(crate) fn load(source: &ModelSource, domain: Domain, context: usize) -> Model<CpuBackend> {
    let cpu = CpuOptions { threads: NonZeroUsize::MIN, isa: domain.isa };
    let checkpoint = Checkpoint::open(source, &OpenOptions::default()).unwrap();
    let load = LoadOptions {
        format: Some(domain.format),
        kv_type: Some(domain.kv),
        context: Some(context),
        cache_positions: Some(3 * (context + MAX_NODES)),
        ..LoadOptions::default()
    };
    let backend = Arc::new(CpuBackend::new(cpu));
    Model::load(backend, &checkpoint, load, &mut |_| {}).unwrap()
}

impl Plain {
    pub(crate) fn new(source: &ModelSource, domain: Domain) -> Self {
        // Plain texts go on where a request ends at its context.
        Self { model: load(source, domain, 2 * CONTEXT) }
    }

    /// `count` tokens after `prompt`; ends of text are tokens like any other.
    pub(crate) fn decode(
        &mut self,
        prompt: &[TokenId],
        sampling: &SamplingParams,
        noise: Noise,
        count: usize,
    ) -> Text {
        let model = &mut self.model;
        let mut sampler = Sampler::new(sampling.clone(), noise, model.spec().vocab).unwrap();
        sampler.prompt(prompt);
        let sequence = model.open();
        let (mut tokens, mut rows, mut hidden) = (prompt.to_vec(), Vec::new(), Vec::new());
        for at in 0..prompt.len() + count - 1 {
            model.start();
            let item = model.add(sequence, &DraftTree::single(tokens[at]), Wants::From(0)).unwrap();
            model.forward();
            if at + 1 == tokens.len() {
                let row = model.logits(item, 0);
                rows.push(bits(row));
                hidden.push(bits(model.hidden(item, 0)));
                let next = sampler.draw(row, &[], tokens.len() as u32).unwrap();
                sampler.commit(next);
                tokens.push(next);
            }
            model.commit(sequence, &[0]);
        }
        let cache = cache_bits(model, sequence);
        model.close(sequence);
        Text { tokens, prompt: prompt.len(), rows, hidden, cache }
    }

    /// Rows after each token of a given text.
    pub(crate) fn teacher(&mut self, tokens: &[TokenId]) -> Vec<Vec<f32>> {
        self.read(tokens, |model, item, node| model.logits(item, node).to_vec())
    }

    /// Hidden states after each token of a given text.
    pub(crate) fn states(&mut self, tokens: &[TokenId]) -> Vec<Vec<u32>> {
        self.read(tokens, |model, item, node| bits(model.hidden(item, node)))
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        row: impl Fn(&Model<CpuBackend>, usize, NodeId) -> T,
    ) -> Vec<T> {
        let model = &mut self.model;
        let sequence = model.open();
        let mut rows = Vec::new();
        for chunk in tokens.chunks(64) {
            model.start();
            let tree = DraftTree::chain(chunk).unwrap();
            let item = model.add(sequence, &tree, Wants::From(0)).unwrap();
            model.forward();
            rows.extend((0..chunk.len()).map(|node| row(model, item, node)));
            model.commit(sequence, &(0..chunk.len()).collect::<Vec<_>>());
        }
        model.close(sequence);
        rows
    }
}

pub(crate) fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

/// Keys and values of every committed position.
pub(crate) fn cache_bits(target: &dyn Target, sequence: SequenceId) -> Vec<Vec<u32>> {
    let spec = target.spec();
    let (mut key, mut value) = (vec![0.0; spec.head_size], vec![0.0; spec.head_size]);
    let mut at_position = |position| {
        let mut all = Vec::new();
        for layer in 0..spec.layers.len() {
            for head in 0..spec.kv_heads {
                let at = KvPosition { layer, head, position };
                target.key_value(sequence, at, &mut key, &mut value);
                all.extend(key.iter().chain(&value).map(|x| x.to_bits()));
            }
        }
        all
    };
    (0..target.committed(sequence)).map(&mut at_position).collect()
}
