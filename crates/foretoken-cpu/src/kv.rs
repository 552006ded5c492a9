//! The store of keys and values: blocks of [`CHUNK`] positions, allocated on demand.
//!
//! Within a block and layer, keys lie `[kv_head][head_size][CHUNK]` and values
//! `[kv_head][CHUNK][head_size, padded to 16]`: the scores of a block then have keys in their lanes and the
//! weighted sum of values has head dimensions, so both are the plain fma tile. With bfloat16 the terms of
//! both sums come in pairs, `[kv_head][head_size / 2][CHUNK][2]` and
//! `[kv_head][CHUNK / 2][head_size, padded to 16][2]`. Padding is zero and stays zero.

use bytemuck::Pod;
use foretoken_tensor::arithmetic::to_bf16;
use foretoken_tensor::{BlockId, CHUNK, KvShape, KvType, Slot};
use half::bf16;

use crate::kernels::fma::{Fma, Weight};
use crate::kernels::pairs::Pair;
use crate::kernels::softmax::ToWeights;
use crate::memory::Memory;
use crate::simd::LANES;
use crate::table::KernelTable;

/// Keys and values of a [`CpuBackend`](crate::CpuBackend).
#[derive(Debug)]
pub struct CpuKv {
    shape: KvShape,
    blocks: usize,
    block_bytes: usize,
    /// Blocks of a slab.
    per_slab: usize,
    /// Blocks one after another, each with all layers and heads.
    slabs: Vec<Memory<u8>>,
}

/// Bytes of memory asked for at once: a few huge pages. Every chunk that attention reads lies in another place, so
/// on small pages each costs several walks through page tables.
const SLAB: usize = 8 << 20;

/// A type keys and values are stored in.
pub(crate) trait KvElement: Pod {
    /// What a product takes in one step: a value, or a pair of them.
    type Cell: Weight;
    /// Values of a cell.
    const PER_CELL: usize = size_of::<Self::Cell>() / size_of::<Self>();
    /// As it is stored.
    fn from_f32(value: f32) -> Self;
    /// Exact.
    fn to_f32(self) -> f32;
    /// What attention does with this type.
    fn kernels(table: &KernelTable) -> KvKernels<Self>;
}

/// The kernels of attention that depend on the type of keys and values.
#[derive(Clone, Copy)]
pub(crate) struct KvKernels<E: KvElement> {
    /// The tile.
    pub(crate) tile: fn(Fma<'_, E::Cell>),
    /// Turns a query into the tile's inputs.
    pub(crate) round: fn(&[f32], &mut [Input<E>]),
    /// Turns scores into the tile's inputs, see [`KernelTable`].
    pub(crate) softmax: ToWeights<Input<E>>,
}

/// What a cell is multiplied with.
pub(crate) type Input<E> = <<E as KvElement>::Cell as Weight>::Input;

impl KvElement for f32 {
    type Cell = Self;

    fn from_f32(value: f32) -> Self {
        value
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn kernels(table: &KernelTable) -> KvKernels<Self> {
        let round = |values: &[f32], inputs: &mut [f32]| inputs.copy_from_slice(values);
        KvKernels { tile: table.fma_f32, round, softmax: table.softmax }
    }
}

impl KvElement for bf16 {
    type Cell = Pair;

    fn from_f32(value: f32) -> Self {
        to_bf16(value)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    fn kernels(table: &KernelTable) -> KvKernels<Self> {
        KvKernels { tile: table.fma_pairs, round: table.round, softmax: table.softmax_pairs }
    }
}

impl CpuKv {
    pub(crate) fn new(shape: KvShape) -> Self {
        let mut kv = Self { shape, blocks: 0, block_bytes: 0, per_slab: 0, slabs: Vec::new() };
        let layer = shape.kv_heads * (kv.key_len() + kv.value_len());
        kv.block_bytes = shape.layers * layer * shape.kv_type.bytes();
        kv.per_slab = (SLAB / kv.block_bytes.max(1)).max(1);
        kv
    }

    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Values of one head and position, padded to whole vectors.
    pub(crate) fn padded_head(&self) -> usize {
        self.shape.head_size.next_multiple_of(LANES)
    }

    pub(crate) fn grow(&mut self, blocks: usize) {
        self.blocks = self.blocks.max(blocks);
        while self.slabs.len() * self.per_slab < blocks {
            self.slabs.push(Memory::zeroed(self.per_slab * self.block_bytes));
        }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The slab of a block, and the block's first byte there.
    fn place(&self, block: BlockId) -> (usize, usize) {
        let block = block.0 as usize;
        assert!(block < self.blocks, "block {block} of {}", self.blocks);
        (block / self.per_slab, block % self.per_slab * self.block_bytes)
    }

    /// With room for a last pair; a store of f32 has no use for it where the head size is odd.
    fn key_len(&self) -> usize {
        self.shape.head_size.next_multiple_of(2) * CHUNK
    }

    fn value_len(&self) -> usize {
        CHUNK * self.padded_head()
    }

    /// Elements before the keys of a head, and before its values.
    fn starts(&self, layer: usize, head: usize) -> (usize, usize) {
        assert!(layer < self.shape.layers && head < self.shape.kv_heads, "layer and head exist");
        let heads = self.shape.kv_heads;
        let layer = layer * heads * (self.key_len() + self.value_len());
        (layer + head * self.key_len(), layer + heads * self.key_len() + head * self.value_len())
    }

    /// The element of a head's keys that holds dimension `d` at an offset.
    fn key_at<E: KvElement>(d: usize, offset: usize) -> usize {
        let n = E::PER_CELL;
        (d / n * CHUNK + offset) * n + d % n
    }

    /// The element of a head's values that holds dimension `d` at an offset.
    fn value_at<E: KvElement>(&self, d: usize, offset: usize) -> usize {
        let n = E::PER_CELL;
        (offset / n * self.padded_head() + d) * n + offset % n
    }

    /// One head's keys in a block: cells of `[head_size][CHUNK]`.
    ///
    /// # Safety
    /// `E` is the store's type; nobody writes the head's keys of this block while the result lives.
    pub(crate) unsafe fn keys<E: KvElement>(
        &self,
        block: BlockId,
        layer: usize,
        head: usize,
    ) -> &[E::Cell] {
        let (start, _) = self.starts(layer, head);
        // SAFETY: passed on.
        bytemuck::cast_slice(unsafe { self.view::<E>(block, start, self.key_len()) })
    }

    /// One head's values in a block: cells of `[CHUNK][padded head]`.
    ///
    /// # Safety
    /// `E` is the store's type; nobody writes the head's values of this block while the result lives.
    pub(crate) unsafe fn values<E: KvElement>(
        &self,
        block: BlockId,
        layer: usize,
        head: usize,
    ) -> &[E::Cell] {
        let (_, start) = self.starts(layer, head);
        // SAFETY: passed on.
        bytemuck::cast_slice(unsafe { self.view::<E>(block, start, self.value_len()) })
    }

    /// # Safety
    /// Nobody writes the range while the result lives.
    unsafe fn view<E: KvElement>(&self, block: BlockId, start: usize, len: usize) -> &[E] {
        let (slab, first) = self.place(block);
        let bytes = first + start * size_of::<E>()..first + (start + len) * size_of::<E>();
        // SAFETY: passed on.
        bytemuck::cast_slice(unsafe { self.slabs[slab].view(bytes) })
    }

    /// Stores one head's key and value, rounded.
    ///
    /// # Safety
    /// `E` is the store's type; nobody else uses this head at this slot meanwhile.
    pub(crate) unsafe fn store<E: KvElement>(
        &self,
        (layer, head): (usize, usize),
        slot: Slot,
        key: &[f32],
        value: &[f32],
    ) {
        let size = self.shape.head_size;
        assert!(key.len() == size && value.len() == size, "one value per head dimension");
        assert!(slot.offset < CHUNK, "a slot lies within its block");
        let (keys, values) = self.starts(layer, head);
        let width = size_of::<E>();
        let (slab, first) = self.place(slot.block);
        for (d, (key, value)) in key.iter().zip(value).enumerate() {
            let key_at = keys + Self::key_at::<E>(d, slot.offset);
            let value_at = values + self.value_at::<E>(d, slot.offset);
            for (at, x) in [(key_at, key), (value_at, value)] {
                // SAFETY: the element belongs to the slot and head the caller owns.
                let to =
                    unsafe { self.slabs[slab].part(first + at * width..first + (at + 1) * width) };
                to.copy_from_slice(bytemuck::bytes_of(&E::from_f32(*x)));
            }
        }
    }

    /// Reads one head's key and value.
    pub(crate) fn read(
        &self,
        (layer, head): (usize, usize),
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        match self.shape.kv_type {
            KvType::F32 => self.read_as::<f32>((layer, head), slot, key, value),
            KvType::Bf16 => self.read_as::<bf16>((layer, head), slot, key, value),
        }
    }

    fn read_as<E: KvElement>(
        &self,
        (layer, head): (usize, usize),
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        let size = self.shape.head_size;
        assert!(key.len() == size && value.len() == size, "one value per head dimension");
        assert!(slot.offset < CHUNK, "a slot lies within its block");
        let (keys, values) = self.starts(layer, head);
        let (slab, first) = self.place(slot.block);
        let block = bytemuck::cast_slice::<u8, E>(&self.slabs[slab][first..]);
        for (d, (key, value)) in key.iter_mut().zip(value).enumerate() {
            *key = block[keys + Self::key_at::<E>(d, slot.offset)].to_f32();
            *value = block[values + self.value_at::<E>(d, slot.offset)].to_f32();
        }
    }

    /// Copies slots in order, every layer and head.
    pub(crate) fn copy(&mut self, moves: &[(Slot, Slot)]) {
        match self.shape.kv_type {
            KvType::F32 => self.copy_as::<f32>(moves),
            KvType::Bf16 => self.copy_as::<bf16>(moves),
        }
    }

    fn copy_as<E: KvElement>(&mut self, moves: &[(Slot, Slot)]) {
        for (from, to) in moves {
            assert!(from.offset < CHUNK && to.offset < CHUNK, "a slot lies within its block");
            let (source, target) = (self.place(from.block), self.place(to.block));
            for layer in 0..self.shape.layers {
                for head in 0..self.shape.kv_heads {
                    let (keys, values) = self.starts(layer, head);
                    for d in 0..self.shape.head_size {
                        let key = [from, to].map(|slot| keys + Self::key_at::<E>(d, slot.offset));
                        let value =
                            [from, to].map(|slot| values + self.value_at::<E>(d, slot.offset));
                        for [from, to] in [key, value] {
                            let source = &self.slabs[source.0][source.1..];
                            let x = bytemuck::cast_slice::<u8, E>(source)[from];
                            let target = &mut self.slabs[target.0][target.1..];
                            bytemuck::cast_slice_mut::<u8, E>(target)[to] = x;
                        }
                    }
                }
            }
        }
    }
}
