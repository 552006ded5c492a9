//! The cache's laws over the scalar backend: every committed position keeps its own key and value.

use foretoken_tensor::{
    Backend, BlockId, CHUNK, KvShape, KvType, MatrixView, Op, Pass, Program, Range32, Reference,
    RowOrder, RowSet, SpanLayout, WeightFormat, Weights,
};

use super::*;

const SHAPE: KvShape = KvShape { layers: 2, kv_heads: 1, head_size: 2, kv_type: KvType::F32 };

/// Writes rows whose keys and values name their tokens.
struct Writer {
    backend: Reference,
    program: Program,
    weights: Weights<Reference>,
    cache: KvCache<Reference>,
}

impl Writer {
    fn new(limit: usize) -> Self {
        let backend = Reference;
        let mut program = Program::new();
        let row = program.buffer(2, RowSet::All);
        let table = foretoken_tensor::MatrixId(0);
        program.push(Op::Embed { table, out: row });
        for layer in 0..SHAPE.layers {
            program.push(Op::StoreKv { keys: row, values: row, layer });
        }
        let values: Vec<u8> = (0..2000u16).flat_map(|n| f32::from(n / 2).to_le_bytes()).collect();
        let view = MatrixView {
            name: "table",
            format: WeightFormat::F32,
            rows: 1000,
            cols: 2,
            order: RowOrder::Natural,
            data: &values,
        };
        let matrix = backend.pack(&view, WeightFormat::F32).unwrap();
        let weights = Weights { matrices: vec![matrix.into()], vectors: vec![] };
        let cache = KvCache::new(&backend, SHAPE, limit);
        Self { backend, program, weights, cache }
    }

    /// Writes a chain of tokens behind the committed positions.
    fn write(&mut self, id: SequenceId, tokens: &[u32]) -> Result<(), CacheError> {
        self.cache.prepare(&self.backend, id, tokens.len())?;
        let rows = tokens.len() as u32;
        let blocks: Vec<BlockId> = self.cache.blocks(id).to_vec();
        let span = SpanLayout {
            rows: Range32 { start: 0, end: rows },
            base: self.cache.committed(id),
            blocks: Range32 { start: 0, end: blocks.len() as u32 },
        };
        let depth: Vec<u32> = (0..rows).collect();
        let pass = Pass {
            tokens,
            rotation: &[],
            subtree_end: &vec![rows; tokens.len()],
            depth: &depth,
            blocks: &blocks,
            spans: &[span],
            wanted: &[],
            input: &[],
        };
        let mut activations = self.backend.activations(&self.program, 1, 1);
        let store = &mut self.cache.store;
        self.backend.run(&self.program, &self.weights, &pass, &mut activations, store);
        self.cache.check_integrity();
        Ok(())
    }

    fn keep(&mut self, id: SequenceId, path: &[NodeId]) {
        self.cache.commit(&self.backend, id, path);
        self.cache.check_integrity();
    }

    fn append(&mut self, id: SequenceId, tokens: &[u32]) {
        self.write(id, tokens).unwrap();
        self.keep(id, &(0..tokens.len()).collect::<Vec<_>>());
    }

    /// The tokens whose keys and values a sequence holds, the same in every layer.
    fn held(&self, id: SequenceId) -> Vec<u32> {
        let read = |position, layer| {
            let (mut key, mut value) = ([0.0; 2], [0.0; 2]);
            let slot = self.cache.slot(id, position);
            self.backend.read_kv(&self.cache.store, layer, 0, slot, &mut key, &mut value);
            assert_eq!(key, value, "keys and values move together");
            key[0] as u32
        };
        (0..self.cache.committed(id))
            .map(|position| {
                let token = read(position, 0);
                assert_eq!(token, read(position, SHAPE.layers - 1), "layers move together");
                token
            })
            .collect()
    }
}

#[test]
fn a_path_with_gaps_keeps_its_own_rows() {
    for base in [0, 1, CHUNK - 2, CHUNK - 1, CHUNK] {
        let mut writer = Writer::new(8);
        let id = writer.cache.open();
        let mut expected: Vec<u32> = (0..base as u32).collect();
        if base > 0 {
            writer.append(id, &expected);
        }
        writer.write(id, &[500, 501, 502, 503, 504, 505]).unwrap();
        writer.keep(id, &[0, 2, 3, 5]);
        expected.extend([500, 502, 503, 505]);
        assert_eq!(writer.held(id), expected);
    }
}

#[test]
fn forks_share_blocks_and_never_see_each_others_rows() {
    let mut writer = Writer::new(16);
    let first = writer.cache.open();
    let prefix: Vec<u32> = (0..CHUNK as u32 + 10).collect();
    writer.append(first, &prefix);
    let second = writer.cache.fork(first);
    assert_eq!(writer.cache.blocks(first), writer.cache.blocks(second));
    writer.append(first, &[700, 701]);
    writer.append(second, &[800]);
    let with = |tail: &[u32]| [&prefix, tail].concat();
    assert_eq!(writer.held(first), with(&[700, 701]));
    assert_eq!(writer.held(second), with(&[800]));
    writer.cache.close(first);
    writer.cache.check_integrity();
    assert_eq!(writer.held(second), with(&[800]));
}

#[test]
fn a_cut_fork_does_not_write_into_shared_blocks() {
    let mut writer = Writer::new(16);
    let first = writer.cache.open();
    let prefix: Vec<u32> = (0..3 * CHUNK as u32).collect();
    writer.append(first, &prefix);
    let second = writer.cache.fork(first);
    writer.cache.truncate(second, 10);
    writer.cache.check_integrity();
    let tail: Vec<u32> = (600..600 + 2 * CHUNK as u32).collect();
    writer.append(second, &tail);
    assert_eq!(writer.held(first), prefix);
    assert_eq!(writer.held(second), [&prefix[..10], &tail].concat());
}

#[test]
fn a_full_cache_refuses_and_changes_nothing() {
    let mut writer = Writer::new(2);
    let id = writer.cache.open();
    let tokens: Vec<u32> = (0..CHUNK as u32).collect();
    writer.append(id, &tokens);
    let many: Vec<u32> = (0..2 * CHUNK as u32).collect();
    assert_eq!(writer.write(id, &many), Err(CacheError::Full { needed: 2, left: 1 }));
    assert_eq!(writer.held(id), tokens);
    let other = writer.cache.open();
    writer.append(other, &[1]);
    assert_eq!(writer.write(id, &[900]), Err(CacheError::Full { needed: 1, left: 0 }));
    writer.cache.close(other);
    writer.append(id, &[900]);
    assert_eq!(writer.held(id).last(), Some(&900));
}

#[test]
fn closed_sequences_are_opened_again_empty() {
    let mut writer = Writer::new(4);
    let id = writer.cache.open();
    writer.append(id, &[1, 2, 3]);
    writer.cache.close(id);
    let again = writer.cache.open();
    assert_eq!(writer.cache.committed(again), 0);
    assert!(writer.cache.blocks(again).is_empty());
}

#[test]
fn repeating_lengthens_a_sequence_by_what_it_holds() {
    let mut writer = Writer::new(8);
    let id = writer.cache.open();
    let text: Vec<u32> = (100..110).collect();
    writer.append(id, &text);
    let length = 2 * CHUNK + 5;
    writer.cache.repeat(&writer.backend, id, length).unwrap();
    writer.cache.check_integrity();
    let expected: Vec<u32> = text.iter().copied().cycle().take(length).collect();
    assert_eq!(writer.held(id), expected);
    writer.append(id, &[7]);
    assert_eq!(writer.held(id), [&expected[..], &[7]].concat());
    let full = writer.cache.repeat(&writer.backend, id, 9 * CHUNK);
    assert_eq!(full, Err(CacheError::Full { needed: 6, left: 5 }));
    assert_eq!(writer.held(id).len(), length + 1);
}
