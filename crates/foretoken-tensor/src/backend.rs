//! What a device must offer: packing weights, keeping keys and values, running a program.
//!
//! A backend never sees a model, a drafter or a cache policy. It receives a recorded [`Program`],
//! small arrays that describe the rows of one pass, and buffers it owns itself; host code reads
//! nothing between operators and afterwards only the rows it asks for.

use std::ops::Range;
use std::sync::Arc;

use crate::arithmetic::PairSum;
use crate::{BufferId, MatrixView, PackError, Program, RowSet, WeightFormat};

/// Positions per KV block, and keys per attention chunk.
///
/// Attention reduces each chunk of this many *absolute* positions on its own and merges the chunks
/// left to right, so the constant is part of the arithmetic: changing it changes the last bits.
pub const CHUNK: usize = 64;

/// Element type of stored keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// bfloat16, rounded to nearest even when stored.
    Bf16,
}

impl KvType {
    /// Every type.
    pub const ALL: &[Self] = &[Self::F32, Self::Bf16];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kv_type| kv_type.name() == name)
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Shape of a KV store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Key (and value) heads per layer.
    pub kv_heads: usize,
    /// Values per head.
    pub head_size: usize,
    /// Element type.
    pub kv_type: KvType,
}

/// A block of the KV store: [`CHUNK`] positions of every layer and KV head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId(pub u32);

/// One position's place in the KV store, valid for every layer and head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The block.
    pub block: BlockId,
    /// Position within the block, below [`CHUNK`].
    pub offset: usize,
}

/// The new rows of one sequence in a pass: a tree hung on `base` stored positions.
///
/// Row `rows.start + i` is node `i` of the tree in preorder. Its keys and values go to the
/// sequence's slot `base + i`; its position is `base + depth[i]`; it sees the slots `0..base`, then
/// those of its ancestors and itself, which are the `j <= i` with `subtree_end[j] > i`, in
/// ascending `j`.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The rows of the pass.
    pub rows: Range32,
    /// Positions already stored and seen by every row.
    pub base: usize,
    /// Block table: slot `s` is offset `s % CHUNK` of `blocks[s / CHUNK]`.
    pub blocks: &'a [BlockId],
    /// Per node, one past its last descendant.
    pub subtree_end: &'a [u32],
    /// Per node, edges from node 0.
    pub depth: &'a [u32],
}

impl Span<'_> {
    /// Position of node `node` in the logical sequence.
    pub fn position(&self, node: usize) -> usize {
        self.base + self.depth[node] as usize
    }

    /// Whether node `node` is `other` or one of its descendants, and so sees its key and value.
    pub fn sees(&self, node: usize, other: usize) -> bool {
        other <= node && node < self.subtree_end[other] as usize
    }

    /// The place of the sequence's slot `slot`.
    pub fn slot(&self, slot: usize) -> Slot {
        Slot { block: self.blocks[slot / CHUNK], offset: slot % CHUNK }
    }

    /// Checks the laws of the span: one tree in preorder, with room for its keys and values.
    fn assert_laws(&self) {
        let nodes = self.rows.range().len();
        assert!(nodes > 0, "a span has at least one row");
        assert!(
            self.base + nodes <= self.blocks.len() * CHUNK,
            "the block table covers every slot"
        );
        assert_eq!(self.depth[0], 0, "node 0 is the root");
        let (mut ancestors, mut descendants) = (0, 0);
        for i in 0..nodes {
            let (depth, end) = (self.depth[i], self.subtree_end[i] as usize);
            let follows = i == 0 || (1..=self.depth[i - 1] + 1).contains(&depth);
            assert!(follows, "node {i} hangs on the node before it or one of its ancestors");
            assert!(i < end && end <= nodes, "the subtree of node {i} ends inside the span");
            let closed = end == nodes || self.depth[end] <= depth;
            assert!(closed, "the subtree of node {i} ends where the depth falls back");
            ancestors += depth as usize;
            descendants += end - i - 1;
        }
        // No subtree ends too early (above), so if the sums agree none ends too late.
        assert_eq!(ancestors, descendants, "ancestors and descendants are the same pairs");
    }
}

/// Where a [`Span`]'s parts lie in the arrays of its [`Pass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanLayout {
    /// Its rows in [`Pass::tokens`], [`Pass::subtree_end`] and [`Pass::depth`].
    pub rows: Range32,
    /// Positions already stored and seen by every row.
    pub base: usize,
    /// Its block table in [`Pass::blocks`].
    pub blocks: Range32,
}

/// A half-open range of indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range32 {
    /// First index.
    pub start: u32,
    /// One past the last index.
    pub end: u32,
}

impl Range32 {
    /// As a standard range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The inputs of one pass: plain arrays over the rows of all its sequences, so that a caller can
/// keep and refill them and a device can take them in a few copies.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// One token id per row, all below the vocabulary size.
    pub tokens: &'a [u32],
    /// What [`Op::Input`](crate::Op::Input) takes, `[rows, width]`; empty where a program has none.
    pub input: &'a [f32],
    /// Cosines then sines of each row's rotary angles: `[rows, 2, dims / 2]`.
    pub rotation: &'a [f32],
    /// Per row, one past its last descendant, counted within its span.
    pub subtree_end: &'a [u32],
    /// Per row, edges from its span's first row.
    pub depth: &'a [u32],
    /// Block tables, one after the other.
    pub blocks: &'a [BlockId],
    /// The sequences, in row order; together they cover every row.
    pub spans: &'a [SpanLayout],
    /// Rows of [`RowSet::Wanted`](crate::RowSet) buffers, ascending.
    pub wanted: &'a [u32],
}

impl<'a> Pass<'a> {
    /// One sequence's rows, topology and block table.
    pub fn span(&self, index: usize) -> Span<'a> {
        let layout = &self.spans[index];
        Span {
            rows: layout.rows,
            base: layout.base,
            blocks: &self.blocks[layout.blocks.range()],
            subtree_end: &self.subtree_end[layout.rows.range()],
            depth: &self.depth[layout.rows.range()],
        }
    }

    /// The sequences in row order.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = Span<'a>> + use<'a, '_> {
        (0..self.spans.len()).map(|index| self.span(index))
    }

    /// Rows that a buffer of `set` holds in this pass.
    pub fn rows(&self, set: RowSet) -> usize {
        match set {
            RowSet::All => self.tokens.len(),
            RowSet::Wanted => self.wanted.len(),
        }
    }

    /// Rotary dimensions of a head, 0 without rotation.
    pub fn rotary_dims(&self) -> usize {
        self.rotation.len() / self.tokens.len().max(1)
    }

    /// Checks the laws of the pass and of its spans in time linear in its rows; allocates nothing.
    ///
    /// # Panics
    /// With the broken law as message.
    pub fn assert_laws(&self) {
        let rows = self.tokens.len();
        let angles = self.rotary_dims();
        assert!(
            self.rotation.len() == rows * angles && angles.is_multiple_of(2),
            "every row has its angles"
        );
        assert_eq!(self.depth.len(), rows, "there is one depth per row");
        assert_eq!(self.subtree_end.len(), rows, "there is one subtree end per row");
        let mut end = 0;
        for span in self.spans() {
            assert_eq!(span.rows.start, end, "the spans follow one another");
            span.assert_laws();
            end = span.rows.end;
        }
        assert_eq!(end as usize, rows, "the spans cover every row");
        assert!(self.wanted.is_sorted_by(|a, b| a < b), "wanted rows are ascending");
        assert!(self.wanted.last().is_none_or(|&last| last < end), "wanted rows are rows");
    }
}

/// A model's weights in a backend's packed form.
#[derive(Debug)]
pub struct Weights<B: Backend> {
    /// By [`MatrixId`](crate::MatrixId); programs may share them.
    pub matrices: Vec<Arc<B::Matrix>>,
    /// By [`VectorId`](crate::VectorId).
    pub vectors: Vec<B::Vector>,
}

/// A device that runs programs.
///
/// The arithmetic of every operator is specified by [`arithmetic`](crate::arithmetic) and
/// [`Reference`](crate::Reference); a backend reproduces it bit for bit, which
/// [`conformance`](crate::conformance) checks.
pub trait Backend: Send + Sync + 'static {
    /// A packed weight matrix.
    type Matrix: Send + Sync;
    /// An f32 vector on the device.
    type Vector: Send + Sync;
    /// Activation buffers and scratch of one program.
    type Activations: Send;
    /// Keys and values.
    type Kv: Send;

    /// Name of the backend and its kernel level, such as `cpu/avx512`; part of the domain in which
    /// text is reproducible.
    fn name(&self) -> String;

    /// The order in which it sums products with bfloat16 weights, the one choice that the arithmetic leaves.
    fn pair_sum(&self) -> PairSum {
        PairSum::default()
    }

    /// Packs a matrix into `format` (the view's own, or one it is converted to).
    ///
    /// Conversion follows [`MatrixView::convert`]. Refuses non-finite weights, naming the tensor
    /// and the index.
    fn pack(&self, view: &MatrixView<'_>, format: WeightFormat) -> Result<Self::Matrix, PackError>;

    /// Bytes a packed matrix keeps.
    fn packed_bytes(&self, matrix: &Self::Matrix) -> usize;

    /// Uploads a vector.
    fn vector(&self, values: &[f32]) -> Self::Vector;

    /// Allocates the buffers of a program for up to `rows` rows and `wanted` wanted rows per pass;
    /// later passes within them allocate nothing, larger ones grow the buffers.
    fn activations(&self, program: &Program, rows: usize, wanted: usize) -> Self::Activations;

    /// An empty KV store.
    fn kv(&self, shape: KvShape) -> Self::Kv;

    /// Grows the store to hold the blocks `0..blocks`; never shrinks it.
    fn grow_kv(&self, kv: &mut Self::Kv, blocks: usize);

    /// Copies slots in order, every layer and head, keys and values.
    fn copy_kv(&self, kv: &mut Self::Kv, moves: &[(Slot, Slot)]);

    /// Reads one head's key and value at a slot as f32, each `[head_size]`.
    fn read_kv(
        &self,
        kv: &Self::Kv,
        layer: usize,
        head: usize,
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    );

    /// Runs one pass.
    ///
    /// # Panics
    /// If the inputs break the laws stated on [`Pass`] and [`Span`] ([`Pass::assert_laws`]).
    fn run(
        &self,
        program: &Program,
        weights: &Weights<Self>,
        pass: &Pass<'_>,
        activations: &mut Self::Activations,
        kv: &mut Self::Kv,
    ) where
        Self: Sized;

    /// A row of a buffer after a pass, valid until the next.
    fn row<'a>(
        &self,
        activations: &'a Self::Activations,
        buffer: BufferId,
        row: usize,
    ) -> &'a [f32];
}

#[cfg(test)]
mod tests;
