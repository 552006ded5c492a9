//! A target that writes down what is asked of it, and can be told to spoil a row.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use foretoken::{ForwardError, KvType, ModelSpec, Target, WeightFormat};
use foretoken_core::{DraftTree, NodeId};
use foretoken_model::{KvPosition, SequenceId, Wants};

use crate::plain::{bits, cache_bits};

/// What one sequence was given and kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    /// By position: the committed row that decided the token after it.
    pub(crate) rows: BTreeMap<usize, Vec<u32>>,
    /// Keys and values by position, as of its end.
    pub(crate) cache: Vec<Vec<u32>>,
}

/// Which situations a run has met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Passes that wanted rows.
    pub(crate) passes: usize,
    /// Candidates and probes sent.
    pub(crate) drafted: usize,
    pub(crate) probes: usize,
    /// Steps with a draft of which nothing, one token, or a path to a leaf was accepted.
    pub(crate) none: usize,
    pub(crate) one: usize,
    pub(crate) full: usize,
    /// Accepted nodes that were not the first candidate of their parent.
    pub(crate) ranked: usize,
    /// Commits with a gap.
    pub(crate) gapped: usize,
    /// Drafts hung behind tokens of a prompt in one pass.
    pub(crate) behind_prompt: usize,
    /// Nodes of the largest draft, root included.
    pub(crate) widest: usize,
}

/// What was written down.
#[derive(Default)]
pub(crate) struct Log {
    /// In the order of opening.
    pub(crate) sequences: Vec<Recorded>,
    pub(crate) coverage: Coverage,
    /// Sequences open now.
    pub(crate) open: usize,
    /// Sequence (in the order of opening) and position whose row is spoiled.
    pub(crate) spoiled: Option<(usize, usize)>,
}

struct Item {
    sequence: SequenceId,
    tree: DraftTree,
    base: usize,
    first: Option<NodeId>,
}

pub(crate) struct Recorder {
    inner: Box<dyn Target>,
    log: Arc<Mutex<Log>>,
    open: HashMap<SequenceId, usize>,
    items: Vec<Item>,
    nan: Vec<f32>,
}

impl Recorder {
    pub(crate) fn around(inner: Box<dyn Target>, log: &Arc<Mutex<Log>>) -> Box<dyn Target> {
        let nan = vec![f32::NAN; inner.spec().vocab];
        let log = Arc::clone(log);
        Box::new(Self { inner, log, open: HashMap::new(), items: Vec::new(), nan })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    fn opened(&mut self, sequence: SequenceId) -> SequenceId {
        let mut log = self.log();
        log.sequences.push(Recorded::default());
        log.open += 1;
        let index = log.sequences.len() - 1;
        drop(log);
        self.open.insert(sequence, index);
        sequence
    }
}

impl Coverage {
    fn count(&mut self, tree: &DraftTree, first: NodeId, path: &[NodeId]) {
        let candidates = tree.candidates() - first;
        self.drafted += candidates;
        self.probes += tree.probes();
        if candidates == 0 {
            return;
        }
        let accepted = &path[first + 1..];
        self.behind_prompt += usize::from(first > 0);
        self.widest = self.widest.max(tree.len() - first);
        self.none += usize::from(accepted.is_empty());
        self.one += usize::from(accepted.len() == 1);
        let leaf = path.last().is_some_and(|&n| tree.candidate_children(n).next().is_none());
        self.full += usize::from(accepted.len() > 1 && leaf);
        self.gapped += usize::from(path.windows(2).any(|pair| pair[0] + 1 != pair[1]));
        for &node in accepted {
            let first = tree.parent(node).and_then(|parent| tree.candidate_children(parent).next());
            self.ranked += usize::from(first != Some(node));
        }
    }
}

impl Target for Recorder {
    fn spec(&self) -> &ModelSpec {
        self.inner.spec()
    }

    fn context(&self) -> usize {
        self.inner.context()
    }

    fn domain(&self) -> String {
        self.inner.domain()
    }

    fn weight_format(&self) -> WeightFormat {
        self.inner.weight_format()
    }

    fn kv_type(&self) -> KvType {
        self.inner.kv_type()
    }

    fn open(&mut self) -> SequenceId {
        let sequence = self.inner.open();
        self.opened(sequence)
    }

    fn fork(&mut self, from: SequenceId) -> SequenceId {
        let sequence = self.inner.fork(from);
        self.opened(sequence)
    }

    fn close(&mut self, sequence: SequenceId) {
        let index = self.open.remove(&sequence).expect("a sequence is closed once");
        let cache = cache_bits(self.inner.as_ref(), sequence);
        let mut log = self.log();
        log.sequences[index].cache = cache;
        log.open -= 1;
        drop(log);
        self.inner.close(sequence);
    }

    fn committed(&self, sequence: SequenceId) -> usize {
        self.inner.committed(sequence)
    }

    fn start(&mut self) {
        self.items.clear();
        self.inner.start();
    }

    fn add(
        &mut self,
        sequence: SequenceId,
        tree: &DraftTree,
        wants: Wants,
    ) -> Result<usize, ForwardError> {
        let item = self.inner.add(sequence, tree, wants)?;
        assert_eq!(item, self.items.len(), "items are numbered as they join");
        assert_eq!(tree.check_integrity(), Ok(()), "a tree that is sent keeps its laws");
        let base = self.inner.committed(sequence);
        let deepest = tree.depths().iter().max().map_or(0, |&depth| depth as usize);
        assert!(base + deepest < self.inner.context(), "no row lies beyond the context");
        let first = match wants {
            Wants::Nothing => None,
            Wants::From(node) => Some(node),
        };
        self.items.push(Item { sequence, tree: tree.clone(), base, first });
        Ok(item)
    }

    fn forward(&mut self) {
        let wanted = self.items.iter().any(|item| item.first.is_some());
        self.log().coverage.passes += usize::from(wanted);
        self.inner.forward();
    }

    fn logits(&self, item: usize, node: NodeId) -> &[f32] {
        let Item { sequence, tree, base, .. } = &self.items[item];
        let position = base + tree.depth(node) as usize;
        let spoiled = self.log().spoiled == Some((self.open[sequence], position));
        if spoiled { &self.nan } else { self.inner.logits(item, node) }
    }

    fn hidden(&self, item: usize, node: NodeId) -> &[f32] {
        self.inner.hidden(item, node)
    }

    fn commit(&mut self, sequence: SequenceId, path: &[NodeId]) {
        let item = self.items.iter().position(|item| item.sequence == sequence);
        let index = item.expect("what is committed was in the batch");
        let Item { tree, base, first, .. } = &self.items[index];
        if let Some(first) = *first {
            let mut log = self.log();
            log.coverage.count(tree, first, path);
            let rows = &mut log.sequences[self.open[&sequence]].rows;
            for (row, &node) in path.iter().enumerate().skip(first) {
                rows.insert(base + row, bits(self.inner.logits(index, node)));
            }
        }
        self.inner.commit(sequence, path);
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) {
        self.inner.truncate(sequence, length);
    }

    fn key_value(&self, sequence: SequenceId, at: KvPosition, key: &mut [f32], value: &mut [f32]) {
        self.inner.key_value(sequence, at, key, value);
    }
}
