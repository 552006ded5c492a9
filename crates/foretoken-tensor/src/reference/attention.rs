//! Attention of the reference: each row reads the keys and values of its own path.

use crate::arithmetic::{LaneSum, Softmax, add_pair, dot, dot_pairs, exp, round_bf16};
use crate::{CHUNK, KvType, Pass, Reach, ReferenceKv, Slot, Span};

/// The fields of [`Op::Attention`](crate::Op) that are no buffers.
pub(super) struct Attention {
    pub(super) layer: usize,
    pub(super) reach: Reach,
    pub(super) scale: f32,
}

impl Attention {
    /// Attends with every row of a pass, in order.
    pub(super) fn run<'a>(
        &self,
        kv: &ReferenceKv,
        pass: &Pass<'_>,
        queries: impl Iterator<Item = &'a [f32]>,
        out: impl Iterator<Item = &'a mut [f32]>,
    ) {
        let nodes = pass
            .spans()
            .flat_map(|span| (0..span.rows.range().len()).map(move |node| (span, node)));
        for (((span, node), query), out) in nodes.zip(queries).zip(out) {
            self.row(kv, &path(&span, node), query, out);
        }
    }

    /// One row: `path[p]` is where position `p` is stored, the row's own position last.
    fn row(&self, kv: &ReferenceKv, path: &[Slot], query: &[f32], out: &mut [f32]) {
        let first = match self.reach {
            Reach::Full => 0,
            Reach::Window(n) => path.len().saturating_sub(n as usize),
        };
        let shape = kv.shape();
        let heads_per_kv = query.len() / (shape.kv_heads * shape.head_size);
        let heads = query.chunks_exact(shape.head_size).zip(out.chunks_exact_mut(shape.head_size));
        for (head, (query, out)) in heads.enumerate() {
            let query: Vec<f32> =
                query.iter().map(|q| operand(shape.kv_type, q * self.scale)).collect();
            let keys = Keys { kv, layer: self.layer, head: head / heads_per_kv, path };
            keys.attend(&query, first, out);
        }
    }
}

/// Where the positions `0..=position` of a node's path are stored, by position: the slots before
/// the tree, then those of the ancestors and the node itself.
fn path(span: &Span<'_>, node: usize) -> Vec<Slot> {
    let ancestors = (0..=node).filter(|&other| span.sees(node, other));
    let slots = (0..span.base).chain(ancestors.map(|other| span.base + other));
    let path: Vec<Slot> = slots.map(|slot| span.slot(slot)).collect();
    assert_eq!(path.len(), span.position(node) + 1, "a path holds every position once");
    path
}

/// The keys and values that one head of one row sees.
struct Keys<'a> {
    kv: &'a ReferenceKv,
    layer: usize,
    head: usize,
    path: &'a [Slot],
}

impl Keys<'_> {
    /// Softmax-weighted mean of the values at positions `first..`, chunk by chunk of absolute
    /// positions, chunks merged in order.
    fn attend(&self, query: &[f32], first: usize, out: &mut [f32]) {
        let chunk_end = |start: usize| (start / CHUNK * CHUNK + CHUNK).min(self.path.len());
        let mut softmax = self.chunk(query, first..chunk_end(first), out);
        let mut later = vec![0.0; out.len()];
        let mut start = chunk_end(first);
        while start < self.path.len() {
            let chunk = self.chunk(query, start..chunk_end(start), &mut later);
            let (merged, a, b) = softmax.merge(chunk);
            for (out, later) in out.iter_mut().zip(&later) {
                *out = later.mul_add(b, *out * a);
            }
            softmax = merged;
            start = chunk_end(start);
        }
        for out in out {
            *out /= softmax.sum;
        }
    }

    /// Scores, maximum, sum and weighted values of the positions of one chunk.
    ///
    /// With bfloat16 keys and values the weights are rounded, and the sum adds the rounded ones; the
    /// positions `2 j` and `2 j + 1` are a pair, and what is not among `positions` is a zero of both factors.
    fn chunk(&self, query: &[f32], positions: std::ops::Range<usize>, out: &mut [f32]) -> Softmax {
        let kv_type = self.kv.shape().kv_type;
        let key = |position: usize| self.kv.key(self.layer, self.path[position], self.head);
        let value = |position: usize| self.kv.value(self.layer, self.path[position], self.head);
        let score = |position: usize| match kv_type {
            KvType::F32 => dot(query, key(position)),
            KvType::Bf16 => dot_pairs(query, key(position)),
        };
        let scores: Vec<f32> = positions.clone().map(score).collect();
        let max = scores.iter().fold(f32::NEG_INFINITY, |max, &s| if s > max { s } else { max });
        let weights: Vec<f32> = scores.iter().map(|s| operand(kv_type, exp(s - max))).collect();
        let mut sum = LaneSum::ZERO;
        for (position, weight) in positions.clone().zip(&weights) {
            sum.add(position % CHUNK, *weight);
        }
        let link = |position: usize, d: usize| {
            let at = positions.contains(&position).then(|| position - positions.start);
            at.map_or((0.0, 0.0), |at| (weights[at], value(position)[d]))
        };
        for (d, out) in out.iter_mut().enumerate() {
            *out = match kv_type {
                KvType::F32 => positions.clone().fold(0.0, |acc, position| {
                    let (weight, value) = link(position, d);
                    weight.mul_add(value, acc)
                }),
                KvType::Bf16 => {
                    (positions.start / 2..positions.end.div_ceil(2)).fold(0.0, |acc, j| {
                        let [even, odd] = [link(2 * j, d), link(2 * j + 1, d)];
                        add_pair(acc, [even.0, odd.0], [even.1, odd.1])
                    })
                }
            };
        }
        Softmax { max, sum: sum.total() }
    }
}

/// What a query or a weight is multiplied as.
fn operand(kv_type: KvType, x: f32) -> f32 {
    match kv_type {
        KvType::F32 => x,
        KvType::Bf16 => round_bf16(x),
    }
}
