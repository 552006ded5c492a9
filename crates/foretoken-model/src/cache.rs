//! Keys and values of the open sequences: which blocks they use, what is committed, what is draft.
//!
//! Storage belongs to the backend; this module only hands out its blocks. The law is
//! `committed <= written <= capacity`: a pass writes a tree's rows behind the committed positions, and
//! [`KvCache::commit`] keeps the rows of one path and drops the rest. Nothing here knows why a path was
//! accepted, and nothing but the owner of the target calls it, drafters least of all.

use foretoken_core::NodeId;
use foretoken_tensor::{Backend, BlockId, CHUNK, KvShape, Slot};
use thiserror::Error;

/// An open sequence of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u32);

/// Why the cache could not take more rows.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// Every block is in use.
    #[error(
        "the KV cache is full: {needed} more blocks of {CHUNK} positions are needed and {left} are \
         left; finish or cancel sequences, or choose a smaller --context"
    )]
    Full {
        /// Blocks asked for.
        needed: usize,
        /// Blocks left.
        left: usize,
    },
}

#[derive(Debug, Default)]
struct Sequence {
    open: bool,
    blocks: Vec<BlockId>,
    committed: usize,
    written: usize,
}

/// Block tables over a backend's KV store.
pub struct KvCache<B: Backend> {
    pub(crate) store: B::Kv,
    sequences: Vec<Sequence>,
    references: Vec<u32>,
    free: Vec<BlockId>,
    limit: usize,
    moves: Vec<(Slot, Slot)>,
}

impl<B: Backend> KvCache<B> {
    /// An empty cache of at most `limit` blocks, allocated as they are needed.
    pub fn new(backend: &B, shape: KvShape, limit: usize) -> Self {
        Self {
            store: backend.kv(shape),
            sequences: Vec::new(),
            references: Vec::new(),
            free: Vec::new(),
            limit,
            moves: Vec::new(),
        }
    }

    /// Opens an empty sequence.
    pub fn open(&mut self) -> SequenceId {
        let index = self.sequences.iter().position(|s| !s.open).unwrap_or_else(|| {
            self.sequences.push(Sequence::default());
            self.sequences.len() - 1
        });
        self.sequences[index].open = true;
        SequenceId(index as u32)
    }

    /// Opens a sequence with the committed positions of `from`, sharing their blocks until one of the
    /// two writes to a shared block.
    pub fn fork(&mut self, from: SequenceId) -> SequenceId {
        let committed = self.sequence(from).committed;
        let blocks = self.sequence(from).blocks[..committed.div_ceil(CHUNK)].to_vec();
        for block in &blocks {
            self.references[block.0 as usize] += 1;
        }
        let to = self.open();
        *self.sequence_mut(to) = Sequence { open: true, blocks, committed, written: committed };
        to
    }

    /// Closes a sequence and frees its blocks.
    pub fn close(&mut self, id: SequenceId) {
        self.release_from(id, 0);
        let sequence = self.sequence_mut(id);
        (sequence.open, sequence.committed, sequence.written) = (false, 0, 0);
    }

    /// Positions every later row will see.
    pub fn committed(&self, id: SequenceId) -> usize {
        self.sequence(id).committed
    }

    /// Block table of a sequence.
    pub fn blocks(&self, id: SequenceId) -> &[BlockId] {
        &self.sequence(id).blocks
    }

    /// The slot of a written position or draft row.
    pub fn slot(&self, id: SequenceId, index: usize) -> Slot {
        Slot { block: self.sequence(id).blocks[index / CHUNK], offset: index % CHUNK }
    }

    /// Makes the slots of `rows` new rows writable; they count as written.
    pub fn prepare(&mut self, backend: &B, id: SequenceId, rows: usize) -> Result<(), CacheError> {
        let end = self.sequence(id).committed + rows;
        let missing = end.div_ceil(CHUNK).saturating_sub(self.sequence(id).blocks.len());
        let shared = self.shared_tail(id);
        let needed = missing + usize::from(shared.is_some());
        let left = self.free.len() + self.limit.saturating_sub(self.references.len());
        if needed > left {
            return Err(CacheError::Full { needed, left });
        }
        if let Some(old) = shared {
            self.unshare_tail(backend, id, old);
        }
        for _ in 0..missing {
            let block = self.take_block(backend);
            self.sequence_mut(id).blocks.push(block);
        }
        self.sequence_mut(id).written = end;
        Ok(())
    }

    /// Keeps the rows of `path` (ascending nodes of the tree last written, from its root) as the next
    /// committed positions and drops the other rows.
    ///
    /// # Panics
    /// If the path does not ascend or leaves the written rows.
    pub fn commit(&mut self, backend: &B, id: SequenceId, path: &[NodeId]) {
        let base = self.sequence(id).committed;
        let written = self.sequence(id).written;
        assert!(path.windows(2).all(|w| w[0] < w[1]), "an accepted path ascends");
        assert!(path.last().is_none_or(|&n| base + n < written), "an accepted path was written");
        let mut moves = std::mem::take(&mut self.moves);
        moves.clear();
        // Nodes ascend, so a row is never overwritten before it has been copied.
        moves.extend(
            path.iter()
                .enumerate()
                .filter(|&(kept, &node)| kept != node)
                .map(|(kept, &node)| (self.slot(id, base + node), self.slot(id, base + kept))),
        );
        if !moves.is_empty() {
            backend.copy_kv(&mut self.store, &moves);
        }
        self.moves = moves;
        let sequence = self.sequence_mut(id);
        sequence.committed = base + path.len();
        sequence.written = sequence.committed;
    }

    /// Forgets the committed positions from `length` on.
    pub fn truncate(&mut self, id: SequenceId, length: usize) {
        assert!(length <= self.committed(id), "a sequence is cut to what it holds");
        // Blocks wholly behind the cut may be shared, so they are given back rather than kept.
        self.release_from(id, length.div_ceil(CHUNK));
        let sequence = self.sequence_mut(id);
        (sequence.committed, sequence.written) = (length, length);
    }

    /// Lengthens a sequence to `length` committed positions by copies of those it has, in turn.
    ///
    /// # Panics
    /// If the sequence is empty, or longer already.
    pub fn repeat(&mut self, backend: &B, id: SequenceId, length: usize) -> Result<(), CacheError> {
        let period = self.committed(id);
        assert!((1..=length).contains(&period), "what is repeated is there, and grows");
        self.prepare(backend, id, length - period)?;
        let moves: Vec<_> =
            (period..length).map(|to| (self.slot(id, to - period), self.slot(id, to))).collect();
        backend.copy_kv(&mut self.store, &moves);
        self.sequence_mut(id).committed = length;
        Ok(())
    }

    /// Checks the cache's laws: lengths, and that each block is referenced as often as it is used.
    pub fn check_integrity(&self) {
        let mut uses = vec![0; self.references.len()];
        for sequence in &self.sequences {
            assert!(sequence.committed <= sequence.written, "committed <= written");
            assert!(sequence.written <= sequence.blocks.len() * CHUNK, "written <= capacity");
            assert!(sequence.open || sequence.blocks.is_empty(), "a closed sequence has no blocks");
            sequence.blocks.iter().for_each(|b| uses[b.0 as usize] += 1);
        }
        assert_eq!(uses, self.references, "references count the uses of each block");
        let idle = uses.iter().filter(|&&n| n == 0).count();
        assert_eq!(idle, self.free.len(), "unused blocks are free");
    }

    /// The last committed block when it is partly filled and shared, so that new rows may not enter it.
    fn shared_tail(&self, id: SequenceId) -> Option<BlockId> {
        let sequence = self.sequence(id);
        let tail = (!sequence.committed.is_multiple_of(CHUNK))
            .then(|| sequence.blocks[sequence.committed / CHUNK])?;
        (self.references[tail.0 as usize] > 1).then_some(tail)
    }

    fn unshare_tail(&mut self, backend: &B, id: SequenceId, old: BlockId) {
        let new = self.take_block(backend);
        let committed = self.sequence(id).committed;
        let moves: Vec<_> = (0..committed % CHUNK)
            .map(|offset| (Slot { block: old, offset }, Slot { block: new, offset }))
            .collect();
        backend.copy_kv(&mut self.store, &moves);
        self.references[old.0 as usize] -= 1;
        self.sequence_mut(id).blocks[committed / CHUNK] = new;
    }

    fn take_block(&mut self, backend: &B) -> BlockId {
        let block = self.free.pop().unwrap_or_else(|| {
            self.references.push(0);
            backend.grow_kv(&mut self.store, self.references.len());
            BlockId(self.references.len() as u32 - 1)
        });
        self.references[block.0 as usize] = 1;
        block
    }

    /// Gives back the blocks from table index `first` on.
    fn release_from(&mut self, id: SequenceId, first: usize) {
        while self.sequence(id).blocks.len() > first {
            let Some(block) = self.sequence_mut(id).blocks.pop() else { return };
            self.references[block.0 as usize] -= 1;
            if self.references[block.0 as usize] == 0 {
                self.free.push(block);
            }
        }
    }

    fn sequence(&self, id: SequenceId) -> &Sequence {
        let sequence = &self.sequences[id.0 as usize];
        assert!(sequence.open, "a sequence is used while it is open");
        sequence
    }

    fn sequence_mut(&mut self, id: SequenceId) -> &mut Sequence {
        &mut self.sequences[id.0 as usize]
    }
}

#[cfg(test)]
mod tests;
