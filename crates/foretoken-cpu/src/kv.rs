//! The store of keys and values: blocks of [`CHUNK`] positions, allocated on demand.
//!
//! Within a block and layer, keys lie `[kv_head][head_size][CHUNK]` and values
//! `[kv_head][CHUNK][head_size, padded to 16]`: the scores of a block then have keys in their lanes and the
//! weighted sum of values has head dimensions, so both are the plain fma tile. Padding is zero and
//! stays zero.

use bytemuck::Pod;
use foretoken_tensor::{BlockId, CHUNK, KvShape, KvType, Slot};
use half::bf16;

use crate::kernels::fma::{Fma, Weight};
use crate::memory::Memory;
use crate::simd::LANES;
use crate::table::KernelTable;

/// Keys and values of a [`CpuBackend`](crate::CpuBackend).
#[derive(Debug)]
pub struct CpuKv {
    shape: KvShape,
    /// One allocation per block, all layers and heads.
    blocks: Vec<Memory<u8>>,
}

/// A type keys and values are stored in.
pub(crate) trait KvElement: Weight {
    /// Rounds to nearest even.
    fn from_f32(value: f32) -> Self;
    /// Exact.
    fn to_f32(self) -> f32;
    /// The tile over this type.
    fn kernel(table: &KernelTable) -> fn(Fma<'_, Self>);
}

impl KvElement for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn kernel(table: &KernelTable) -> fn(Fma<'_, Self>) {
        table.fma_f32
    }
}

impl KvElement for bf16 {
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    fn kernel(table: &KernelTable) -> fn(Fma<'_, Self>) {
        table.fma_bf16
    }
}

impl CpuKv {
    pub(crate) fn new(shape: KvShape) -> Self {
        Self { shape, blocks: Vec::new() }
    }

    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Values of one head and position, padded to whole vectors.
    pub(crate) fn padded_head(&self) -> usize {
        self.shape.head_size.next_multiple_of(LANES)
    }

    pub(crate) fn grow(&mut self, blocks: usize) {
        let layer = self.shape.kv_heads * (self.key_len() + self.value_len());
        let element = match self.shape.kv_type {
            KvType::F32 => size_of::<f32>(),
            KvType::Bf16 => size_of::<bf16>(),
        };
        while self.blocks.len() < blocks {
            self.blocks.push(Memory::zeroed(self.shape.layers * layer * element));
        }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn key_len(&self) -> usize {
        self.shape.head_size * CHUNK
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

    /// One head's keys `[head_size][CHUNK]` in a block.
    ///
    /// # Safety
    /// `W` is the store's type; nobody writes the head's keys of this block while the result lives.
    pub(crate) unsafe fn keys<W: KvElement>(
        &self,
        block: BlockId,
        layer: usize,
        head: usize,
    ) -> &[W] {
        let (start, _) = self.starts(layer, head);
        // SAFETY: passed on.
        unsafe { self.view(block, start, self.key_len()) }
    }

    /// One head's values `[CHUNK][padded head]` in a block.
    ///
    /// # Safety
    /// `W` is the store's type; nobody writes the head's values of this block while the result lives.
    pub(crate) unsafe fn values<W: KvElement>(
        &self,
        block: BlockId,
        layer: usize,
        head: usize,
    ) -> &[W] {
        let (_, start) = self.starts(layer, head);
        // SAFETY: passed on.
        unsafe { self.view(block, start, self.value_len()) }
    }

    /// # Safety
    /// Nobody writes the range while the result lives.
    unsafe fn view<W: Pod>(&self, block: BlockId, start: usize, len: usize) -> &[W] {
        let bytes = start * size_of::<W>()..(start + len) * size_of::<W>();
        // SAFETY: passed on.
        bytemuck::cast_slice(unsafe { self.blocks[block.0 as usize].view(bytes) })
    }

    /// Stores one head's key and value, rounded.
    ///
    /// # Safety
    /// `W` is the store's type; nobody else uses this head at this slot meanwhile.
    pub(crate) unsafe fn store<W: KvElement>(
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
        let width = size_of::<W>();
        let block = &self.blocks[slot.block.0 as usize];
        for (d, key) in key.iter().enumerate() {
            let start = (keys + d * CHUNK + slot.offset) * width;
            // SAFETY: the element belongs to the slot and head the caller owns.
            let to = unsafe { block.part(start..start + width) };
            to.copy_from_slice(bytemuck::bytes_of(&W::from_f32(*key)));
        }
        let start = (values + slot.offset * self.padded_head()) * width;
        // SAFETY: as above.
        let to = unsafe { block.part(start..start + size * width) };
        for (to, value) in to.chunks_exact_mut(width).zip(value) {
            to.copy_from_slice(bytemuck::bytes_of(&W::from_f32(*value)));
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

    fn read_as<W: KvElement>(
        &self,
        (layer, head): (usize, usize),
        slot: Slot,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        let size = self.shape.head_size;
        assert!(key.len() == size && value.len() == size, "one value per head dimension");
        // SAFETY: the store is borrowed and no pass runs, so nobody writes it.
        let (keys, values) = unsafe {
            (self.keys::<W>(slot.block, layer, head), self.values::<W>(slot.block, layer, head))
        };
        for (d, key) in key.iter_mut().enumerate() {
            *key = keys[d * CHUNK + slot.offset].to_f32();
        }
        let values = &values[slot.offset * self.padded_head()..];
        for (to, value) in value.iter_mut().zip(values) {
            *to = value.to_f32();
        }
    }

    /// Copies slots in order, every layer and head.
    pub(crate) fn copy(&mut self, moves: &[(Slot, Slot)]) {
        match self.shape.kv_type {
            KvType::F32 => self.copy_as::<f32>(moves),
            KvType::Bf16 => self.copy_as::<bf16>(moves),
        }
    }

    fn copy_as<W: KvElement>(&mut self, moves: &[(Slot, Slot)]) {
        let padded = self.padded_head();
        for (from, to) in moves {
            assert!(from.offset < CHUNK && to.offset < CHUNK, "a slot lies within its block");
            let (source, target) = (from.block.0 as usize, to.block.0 as usize);
            for layer in 0..self.shape.layers {
                for head in 0..self.shape.kv_heads {
                    let (keys, values) = self.starts(layer, head);
                    for d in 0..self.shape.head_size {
                        let at = keys + d * CHUNK;
                        let key =
                            bytemuck::cast_slice::<u8, W>(&self.blocks[source])[at + from.offset];
                        bytemuck::cast_slice_mut::<u8, W>(&mut self.blocks[target])
                            [at + to.offset] = key;
                    }
                    for d in 0..padded {
                        let value = bytemuck::cast_slice::<u8, W>(&self.blocks[source])
                            [values + from.offset * padded + d];
                        bytemuck::cast_slice_mut::<u8, W>(&mut self.blocks[target])
                            [values + to.offset * padded + d] = value;
                    }
                }
            }
        }
    }
}
