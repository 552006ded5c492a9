//! The program of a model: what one forward pass computes, recorded once at load.
//!
//! A [`Program`] is a straight line of fused operators on numbered activation buffers. The row
//! count, the positions and the tree topology are no part of it: they travel with each pass
//! ([`Pass`](crate::Pass)), so one recording serves a single token, a draft tree and a prefill
//! chunk, and a GPU backend can capture it. Nothing here computes, and nothing here knows a model
//! family.

/// An activation buffer: f32, row-major, `[rows, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(pub(crate) u32);

/// A packed weight matrix `[outputs, inputs]` in a [`Weights`](crate::Weights) table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatrixId(pub u32);

/// An f32 weight vector (norm gain or bias) in a [`Weights`](crate::Weights) table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VectorId(pub u32);

impl BufferId {
    /// Index of the buffer in [`Program::buffers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl MatrixId {
    /// Index of the matrix in the table of weights.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl VectorId {
    /// Index of the vector in the table of weights.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which rows of a pass a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSet {
    /// One row per new token.
    All,
    /// One row per entry of [`Pass::wanted`](crate::Pass), in that order.
    Wanted,
}

/// Shape of an activation buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSpec {
    /// Values per row.
    pub width: usize,
    /// Rows it holds.
    pub rows: RowSet,
}

/// What a projection does with its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `out = y`.
    Store,
    /// `out = out + y`, the residual connection: one f32 addition after the whole product.
    Add,
    /// `out = out + silu(y)`, the residual block of a Medusa head (Cai et al. 2024).
    AddSilu,
}

/// The map `x · weightᵀ (+ bias)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    /// `[outputs, inputs]`.
    pub weight: MatrixId,
    /// `[outputs]`, added to the whole product.
    pub bias: Option<VectorId>,
}

/// One matrix product of an [`Op::Linear`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// What is computed.
    pub map: Affine,
    /// `[rows, outputs]`.
    pub out: BufferId,
    /// How the result is written.
    pub write: Write,
}

/// How far back attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every earlier position.
    Full,
    /// The newest `n` positions, the row's own included (`n >= 1`).
    Window(u32),
}

/// A fused operator. Every operator is row-invariant: a row of its output depends on that row's
/// inputs (and, in attention, on that row's own prefix) and on nothing else in the pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `out[r] = table[token[r]]`, decoded to f32.
    Embed {
        /// `[vocabulary, width]`.
        table: MatrixId,
        /// `[rows, width]`.
        out: BufferId,
    },
    /// Root-mean-square norm: `out = x / sqrt(mean(x^2) + eps) * weight` (Zhang and Sennrich 2019).
    RmsNorm {
        /// `[rows, width]`.
        input: BufferId,
        /// `[width]`.
        weight: VectorId,
        /// Added to the mean square.
        eps: f32,
        /// `[rows, width]`; may not be `input`.
        out: BufferId,
    },
    /// The same norm over each head's `head_size` values, in place (Qwen3's q and k norms).
    HeadNorm {
        /// `[rows, heads * head_size]`.
        buffer: BufferId,
        /// `[head_size]`.
        weight: VectorId,
        /// Added to the mean square.
        eps: f32,
    },
    /// Matrix products of one input: `out = map(input)`, in one sweep.
    Linear {
        /// `[rows, inputs]`.
        input: BufferId,
        /// The products; their outputs are distinct buffers, none of them `input`.
        parts: Vec<Projection>,
    },
    /// Rotary position embedding of each head, in place, with the angles of
    /// [`Pass::rotation`](crate::Pass); halves layout: value `i` pairs with `i + dims / 2`.
    Rotate {
        /// `[rows, heads * head_size]`.
        buffer: BufferId,
        /// Values per head.
        head_size: usize,
    },
    /// Rounds keys and values to the KV type and writes them to the rows' slots of `layer`.
    StoreKv {
        /// `[rows, kv_heads * head_size]`, rotated.
        keys: BufferId,
        /// `[rows, kv_heads * head_size]`.
        values: BufferId,
        /// Layer of the KV store.
        layer: usize,
    },
    /// Grouped-query attention over the stored keys and values of each row's path.
    Attention {
        /// `[rows, heads * head_size]`, rotated.
        queries: BufferId,
        /// Layer of the KV store.
        layer: usize,
        /// How far back a row sees.
        reach: Reach,
        /// Multiplies the queries before the dot products.
        scale: f32,
        /// `[rows, heads * head_size]`.
        out: BufferId,
    },
    /// `out = silu(gate(input)) * up(input)` (Shazeer 2020, SwiGLU).
    SwiGlu {
        /// `[rows, inputs]`.
        input: BufferId,
        /// `width` outputs.
        gate: Affine,
        /// `width` outputs.
        up: Affine,
        /// `[rows, width]`; may not be `input`.
        out: BufferId,
    },
    /// Copies the rows asked for: `out[i] = input[wanted[i]]`.
    Select {
        /// `[rows, width]`, [`RowSet::All`].
        input: BufferId,
        /// `[wanted, width]`, [`RowSet::Wanted`].
        out: BufferId,
    },
    /// Takes the rows given instead of tokens: `out[r] = input[r]` of
    /// [`Pass::input`](crate::Pass::input).
    Input {
        /// `[rows, width]`.
        out: BufferId,
    },
    /// Keeps a copy for a reader: `out = input`.
    Copy {
        /// `[rows, width]`.
        input: BufferId,
        /// `[rows, width]`.
        out: BufferId,
    },
}

/// A recorded forward pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    buffers: Vec<BufferSpec>,
    ops: Vec<Op>,
}

impl Program {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an activation buffer.
    pub fn buffer(&mut self, width: usize, rows: RowSet) -> BufferId {
        self.buffers.push(BufferSpec { width, rows });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Appends an operator.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// The declared buffers, by [`BufferId::index`].
    pub fn buffers(&self) -> &[BufferSpec] {
        &self.buffers
    }

    /// The operators in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}
