//! The seam between a model and everything that drives it: trees in, rows out, commit by path.
//!
//! [`Target`] is what the engine and the drafters that own a model see, with the backend's type
//! erased. A pass takes a tree of new tokens per sequence; plain decoding is the tree of one node,
//! prefill is a chain. The same model type serves as target and as draft.

use std::sync::Arc;

use foretoken_core::{DraftTree, NodeId};
use foretoken_tensor::{
    Backend, BlockId, BufferId, CHUNK, KvShape, KvType, MatrixId, Pass, Range32, SpanLayout,
    WeightFormat, Weights,
};
use thiserror::Error;

use crate::{
    CacheError, Decoder, KvCache, LoadProgress, ModelError, ModelSpec, PassOutput, Rotation,
    SequenceId, WeightSource,
};

/// Which nodes of a tree want a row of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// None: prefill.
    Nothing,
    /// This node's and every later one's.
    From(NodeId),
}

/// Why a sequence could not join a pass; it has not changed.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// A token id has no embedding.
    #[error("token id {token} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        token: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// The KV cache is full.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A model that evaluates trees of new tokens.
pub trait Target: Send {
    /// What the model is.
    fn spec(&self) -> &ModelSpec;

    /// Positions a sequence may hold.
    fn context(&self) -> usize;

    /// The domain in which its logits are reproducible: backend and kernel level, weight and KV
    /// formats, rotation.
    fn domain(&self) -> String;

    /// Format of most of the packed weights.
    fn weight_format(&self) -> WeightFormat;

    /// Element type of stored keys and values.
    fn kv_type(&self) -> KvType;

    /// Opens an empty sequence.
    fn open(&mut self) -> SequenceId;

    /// Opens a sequence that shares the committed positions of another.
    fn fork(&mut self, from: SequenceId) -> SequenceId;

    /// Closes a sequence.
    fn close(&mut self, sequence: SequenceId);

    /// Committed positions of a sequence.
    fn committed(&self, sequence: SequenceId) -> usize;

    /// Begins an empty batch; the rows of the last pass are gone.
    fn start(&mut self);

    /// Adds one sequence's tree of new tokens, hung on its committed positions (node 0 is the first
    /// token not yet in the cache), and returns the item's index. A sequence that is refused leaves the
    /// batch as it was.
    ///
    /// # Panics
    /// If the sequence is in the batch already.
    fn add(
        &mut self,
        sequence: SequenceId,
        tree: &DraftTree,
        wants: Wants,
    ) -> Result<usize, ForwardError>;

    /// Runs one pass over the batch; its rows stay readable until the next [`Target::start`].
    fn forward(&mut self);

    /// Logits `[vocab]` of the token after `node`, for a node whose row was wanted.
    ///
    /// # Panics
    /// If the row was not asked for in the last pass.
    fn logits(&self, item: usize, node: NodeId) -> &[f32];

    /// Hidden state `[hidden]` of `node` behind the final norm, which is what the output matrix is
    /// applied to; for a node whose row was wanted.
    ///
    /// # Panics
    /// If the row was not asked for in the last pass.
    fn hidden(&self, item: usize, node: NodeId) -> &[f32];

    /// Keeps the rows of an ascending path of the last tree, from its root; drops the others.
    fn commit(&mut self, sequence: SequenceId, path: &[NodeId]);

    /// Forgets the committed positions from `length` on.
    fn truncate(&mut self, sequence: SequenceId, length: usize);

    /// Key and value of a committed position, `[head_size]` each, for tests and debugging.
    fn key_value(&self, sequence: SequenceId, at: KvPosition, key: &mut [f32], value: &mut [f32]);
}

/// Where a key and its value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPosition {
    /// Layer.
    pub layer: usize,
    /// Key-value head.
    pub head: usize,
    /// Position in the sequence.
    pub position: usize,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Weight format; as stored by default.
    pub format: Option<WeightFormat>,
    /// KV type; f32 with f32 weights and bf16 otherwise by default.
    pub kv_type: Option<KvType>,
    /// Longest sequence in tokens; the model's own context by default.
    pub context: Option<usize>,
    /// KV positions all sequences may hold together; by default what one sequence of the whole
    /// context and its widest tree need.
    pub cache_positions: Option<usize>,
    /// What passes compute.
    pub output: PassOutput,
}

/// A model on a backend.
pub struct Model<B: Backend> {
    pub(crate) backend: Arc<B>,
    spec: ModelSpec,
    decoder: Decoder,
    weights: Weights<B>,
    rotation: Rotation,
    cache: KvCache<B>,
    activations: B::Activations,
    context: usize,
    weight_format: WeightFormat,
    kv_type: KvType,
    pass: PassArrays,
}

/// The small arrays of a pass, kept so that a pass allocates nothing.
#[derive(Default)]
struct PassArrays {
    tokens: Vec<u32>,
    rotation: Vec<f32>,
    subtree_end: Vec<u32>,
    depth: Vec<u32>,
    blocks: Vec<BlockId>,
    spans: Vec<SpanLayout>,
    wanted: Vec<u32>,
    items: Vec<ItemRows>,
}

#[derive(Clone, Copy)]
struct ItemRows {
    sequence: SequenceId,
    first_wanted: usize,
    /// First node with a wanted row; those after it have one too.
    first_node: usize,
    end: usize,
}

/// Rows and wanted rows that activations are made for at load; wider passes grow them once.
const WARM_ROWS: usize = 64;

impl<B: Backend> Model<B> {
    /// Packs a model's weights and prepares an empty cache.
    pub fn load(
        backend: Arc<B>,
        source: &dyn WeightSource,
        options: LoadOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, ModelError> {
        let spec = source.spec().clone();
        let decoder = Decoder::record(&spec, options.output);
        let weights = decoder.load(backend.as_ref(), source, options.format, progress)?;
        let weight_format = options.format.unwrap_or_else(|| source.stored_format());
        let kv_type = options.kv_type.unwrap_or(match weight_format {
            WeightFormat::F32 => KvType::F32,
            _ => KvType::Bf16,
        });
        let context = options.context.unwrap_or(spec.context);
        let shape = KvShape {
            layers: spec.layers.len(),
            kv_heads: spec.kv_heads,
            head_size: spec.head_size,
            kv_type,
        };
        let positions =
            options.cache_positions.unwrap_or(context.saturating_add(foretoken_core::MAX_NODES));
        let cache = KvCache::new(backend.as_ref(), shape, positions.div_ceil(CHUNK));
        let activations = backend.activations(&decoder.program, WARM_ROWS, WARM_ROWS);
        let rotation = Rotation::new(&spec.rope, context);
        Ok(Self {
            backend,
            spec,
            decoder,
            weights,
            rotation,
            cache,
            activations,
            context,
            weight_format,
            kv_type,
            pass: PassArrays::default(),
        })
    }

    /// The packed matrix that makes logits of hidden states, `[vocab, hidden]`.
    ///
    /// # Panics
    /// If the model is loaded for hidden states only.
    pub fn output_matrix(&self) -> Arc<B::Matrix> {
        Arc::clone(&self.weights.matrices[self.head().0.index()])
    }

    fn head(&self) -> (MatrixId, BufferId) {
        self.decoder.head.expect("the model is loaded to make logits")
    }

    /// Lengthens a sequence to `length` positions by repeating the keys and values it holds, in turn.
    ///
    /// For benchmarks: a long context for the price of a copy. What the sequence then holds is no text,
    /// but finite, and every kernel takes as long as over any other values.
    ///
    /// # Panics
    /// If the sequence is empty, or longer already.
    pub fn repeat(&mut self, sequence: SequenceId, length: usize) -> Result<(), CacheError> {
        self.cache.repeat(self.backend.as_ref(), sequence, length)
    }
}

impl PassArrays {
    fn clear(&mut self) {
        self.rotation.clear();
        self.tokens.clear();
        self.subtree_end.clear();
        self.depth.clear();
        self.blocks.clear();
        self.spans.clear();
        self.wanted.clear();
        self.items.clear();
    }

    /// Row of a node in the buffers of wanted rows.
    fn wanted_row(&self, item: usize, node: NodeId) -> usize {
        let rows = self.items[item];
        assert!((rows.first_node..rows.end).contains(&node), "the row was asked for");
        rows.first_wanted + node - rows.first_node
    }
}

fn range(start: usize, end: usize) -> Range32 {
    Range32 { start: start as u32, end: end as u32 }
}

impl<B: Backend> Target for Model<B> {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn context(&self) -> usize {
        self.context
    }

    fn domain(&self) -> String {
        format!(
            "{} weights={} kv={:?} rope={:?} context={}",
            self.backend.name(),
            self.weight_format.name(),
            self.kv_type,
            self.spec.rope,
            self.context
        )
    }

    fn weight_format(&self) -> WeightFormat {
        self.weight_format
    }

    fn kv_type(&self) -> KvType {
        self.kv_type
    }

    fn open(&mut self) -> SequenceId {
        self.cache.open()
    }

    fn fork(&mut self, from: SequenceId) -> SequenceId {
        self.cache.fork(from)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.cache.close(sequence);
    }

    fn committed(&self, sequence: SequenceId) -> usize {
        self.cache.committed(sequence)
    }

    fn start(&mut self) {
        self.pass.clear();
    }

    fn add(
        &mut self,
        sequence: SequenceId,
        tree: &DraftTree,
        wants: Wants,
    ) -> Result<usize, ForwardError> {
        let pass = &mut self.pass;
        let joined = pass.items.iter().any(|item| item.sequence == sequence);
        assert!(!joined, "a sequence joins a batch once");
        let vocab = self.spec.vocab;
        if let Some(&token) = tree.tokens().iter().find(|&&token| token as usize >= vocab) {
            return Err(ForwardError::Token { token, vocab });
        }
        self.cache.prepare(self.backend.as_ref(), sequence, tree.len())?;
        let (first, nodes) = (pass.tokens.len(), tree.len());
        let (base, first_block) = (self.cache.committed(sequence), pass.blocks.len());
        pass.tokens.extend_from_slice(tree.tokens());
        pass.subtree_end.extend_from_slice(tree.subtree_ends());
        pass.depth.extend_from_slice(tree.depths());
        pass.blocks.extend_from_slice(self.cache.blocks(sequence));
        let (rows, blocks) = (range(first, first + nodes), range(first_block, pass.blocks.len()));
        pass.spans.push(SpanLayout { rows, base, blocks });
        let width = self.rotation.width();
        pass.rotation.resize((first + nodes) * width, 0.0);
        let angles = pass.rotation[first * width..].chunks_exact_mut(width);
        for (angles, &depth) in angles.zip(tree.depths()) {
            self.rotation.fill(base as u32 + depth, angles);
        }
        let first_node = match wants {
            Wants::Nothing => nodes,
            Wants::From(node) => node,
        };
        let first_wanted = pass.wanted.len();
        pass.items.push(ItemRows { sequence, first_wanted, first_node, end: nodes });
        pass.wanted.extend((first + first_node) as u32..(first + nodes) as u32);
        Ok(pass.items.len() - 1)
    }

    fn forward(&mut self) {
        let arrays = &self.pass;
        if arrays.items.is_empty() {
            return;
        }
        let pass = Pass {
            tokens: &arrays.tokens,
            input: &[],
            rotation: &arrays.rotation,
            subtree_end: &arrays.subtree_end,
            depth: &arrays.depth,
            blocks: &arrays.blocks,
            spans: &arrays.spans,
            wanted: &arrays.wanted,
        };
        let (program, activations) = (&self.decoder.program, &mut self.activations);
        self.backend.run(program, &self.weights, &pass, activations, &mut self.cache.store);
    }

    fn logits(&self, item: usize, node: NodeId) -> &[f32] {
        self.backend.row(&self.activations, self.head().1, self.pass.wanted_row(item, node))
    }

    fn hidden(&self, item: usize, node: NodeId) -> &[f32] {
        self.backend.row(&self.activations, self.decoder.hidden, self.pass.wanted_row(item, node))
    }

    fn commit(&mut self, sequence: SequenceId, path: &[NodeId]) {
        self.cache.commit(self.backend.as_ref(), sequence, path);
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) {
        self.cache.truncate(sequence, length);
    }

    fn key_value(&self, sequence: SequenceId, at: KvPosition, key: &mut [f32], value: &mut [f32]) {
        let slot = self.cache.slot(sequence, at.position);
        self.backend.read_kv(&self.cache.store, at.layer, at.head, slot, key, value);
    }
}
