//! The KV store of the reference: plain f32 rows, already rounded to the KV type.

use crate::arithmetic::round_bf16;
use crate::{CHUNK, KvShape, KvType, Slot};

/// Keys and values of [`Reference`](crate::Reference): per layer `[slots, kv_heads, head_size]`,
/// where the slots of a block follow one another.
#[derive(Debug, Clone)]
pub struct ReferenceKv {
    shape: KvShape,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl ReferenceKv {
    pub(super) fn new(shape: KvShape) -> Self {
        Self { shape, layers: vec![Layer::default(); shape.layers] }
    }

    pub(crate) fn shape(&self) -> KvShape {
        self.shape
    }

    pub(super) fn grow(&mut self, blocks: usize) {
        let needed = blocks * CHUNK * self.width();
        for layer in &mut self.layers {
            let len = needed.max(layer.keys.len());
            layer.keys.resize(len, 0.0);
            layer.values.resize(len, 0.0);
        }
    }

    /// Rounds and writes every head's key and value of one position.
    pub(crate) fn store(&mut self, layer: usize, slot: Slot, key: &[f32], value: &[f32]) {
        assert_eq!(key.len(), self.width(), "a position has one key per KV head");
        assert_eq!(value.len(), self.width(), "a position has one value per KV head");
        let (start, kv_type) = (self.start(slot), self.shape.kv_type);
        let round = |x: &f32| match kv_type {
            KvType::F32 => *x,
            KvType::Bf16 => round_bf16(*x),
        };
        let layer = &mut self.layers[layer];
        for (stored, x) in layer.keys[start..].iter_mut().zip(key) {
            *stored = round(x);
        }
        for (stored, x) in layer.values[start..].iter_mut().zip(value) {
            *stored = round(x);
        }
    }

    pub(super) fn copy(&mut self, from: Slot, to: Slot) {
        let (from, to, width) = (self.start(from), self.start(to), self.width());
        for layer in &mut self.layers {
            layer.keys.copy_within(from..from + width, to);
            layer.values.copy_within(from..from + width, to);
        }
    }

    /// The key of one head at a slot, `[head_size]`.
    pub(super) fn key(&self, layer: usize, slot: Slot, head: usize) -> &[f32] {
        self.head(&self.layers[layer].keys, slot, head)
    }

    /// The value of one head at a slot, `[head_size]`.
    pub(super) fn value(&self, layer: usize, slot: Slot, head: usize) -> &[f32] {
        self.head(&self.layers[layer].values, slot, head)
    }

    fn head<'a>(&self, stored: &'a [f32], slot: Slot, head: usize) -> &'a [f32] {
        let size = self.shape.head_size;
        &stored[self.start(slot) + head * size..][..size]
    }

    fn start(&self, slot: Slot) -> usize {
        (slot.block.0 as usize * CHUNK + slot.offset) * self.width()
    }

    fn width(&self) -> usize {
        self.shape.kv_heads * self.shape.head_size
    }
}
