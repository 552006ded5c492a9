//! From the draft's vocabulary to the target's and back.
//!
//! A draft reads the target's text as its own tokenizer would write it, and what it proposes must be tokens
//! of the target. Between equal vocabularies nothing is to be done. Otherwise there are two ways (Timor et al.
//! 2025): by tokens, where the draft chooses only among tokens that both have, and a row of its logits is put
//! in the target's order; and by text, where it chooses among all its own and what it has written is tokenized
//! for the target. Both are proposals like any other: what a bridge does can cost acceptance and nothing else.

use foretoken_core::{DraftTree, NodeId, Noise, Sampler, SamplingParams, TokenId};
use foretoken_model::{Overlap, Target, Tokenizer, Translation, Translator};

use crate::drafters::DraftTask;

/// What is believed of tokens that spell a draft's text anew: its own estimates are of other tokens.
const RETOLD: f32 = 0.5;

/// What leads from one vocabulary to the other.
pub(crate) enum Bridge {
    /// Tokens have the same ids; only the first of the draft's are the target's.
    Same {
        /// The target's tokens.
        vocab: usize,
    },
    /// Token by token.
    Tokens(Box<TokenBridge>),
    /// Through text.
    Text(Box<TextBridge>),
}

/// Rows of the draft in the target's order.
pub(crate) struct TokenBridge {
    /// The target's tokens left, the draft's right.
    overlap: Overlap,
    reader: Translator,
    /// Tokens with a twin, `(target, draft)`.
    twins: Vec<(TokenId, TokenId)>,
    /// A row of the target's tokens; those without a twin are impossible.
    row: Vec<f32>,
}

/// The draft's own tokens, and the texts between.
pub(crate) struct TextBridge {
    reader: Translator,
    writer: Translator,
    /// The draft's tokens; its rows may be longer.
    vocab: usize,
    proposed: Vec<TokenId>,
}

impl Bridge {
    /// Between the tokens that both vocabularies have. Each comes with the number of logits of its model.
    pub(crate) fn tokens(target: (&Tokenizer, usize), draft: (&Tokenizer, usize)) -> Self {
        let overlap = target.0.overlap(draft.0).within(target.1, draft.1);
        let reader = Translator::to_right(&overlap, target.0, draft.0);
        let twins = overlap.iter().collect();
        let row = vec![f32::NEG_INFINITY; target.1];
        Self::Tokens(Box::new(TokenBridge { overlap, reader, twins, row }))
    }

    /// Between the texts that both vocabularies write. Each comes with the number of logits of its model.
    pub(crate) fn text(target: (&Tokenizer, usize), draft: (&Tokenizer, usize)) -> Self {
        let overlap = target.0.overlap(draft.0).within(target.1, draft.1);
        Self::Text(Box::new(TextBridge {
            reader: Translator::to_right(&overlap, target.0, draft.0),
            writer: Translator::to_left(&overlap, target.0, draft.0),
            vocab: draft.1.min(draft.0.vocab_size()),
            proposed: Vec::new(),
        }))
    }

    /// Where the draft's text is not the target's own tokens: its translation, still empty.
    pub(super) fn translation(&self) -> Option<Translation> {
        self.reader().map(|_| Translation::new())
    }

    /// Who ranks the draft's own tokens, where those are drafted: by their logits alone. What was drafted are
    /// point masses at other tokens, so noise of the target's could only mislead.
    pub(super) fn own_sampler(&self) -> Option<Sampler> {
        let Self::Text(bridge) = self else { return None };
        let noise = Noise { seed: 0, choice: 0 };
        Sampler::new(SamplingParams::default(), noise, bridge.vocab).ok()
    }

    /// Reads what is new of a task's text into its translation.
    pub(super) fn read(&self, task: &DraftTask, translation: &mut Option<Translation>) {
        if let (Some(reader), Some(translation)) = (self.reader(), translation) {
            let known = translation.read();
            translation.push(reader, &task.text[known..]);
        }
    }

    fn reader(&self) -> Option<&Translator> {
        match self {
            Self::Same { .. } => None,
            Self::Tokens(bridge) => Some(&bridge.reader),
            Self::Text(bridge) => Some(&bridge.reader),
        }
    }

    /// A row of the draft as one of the tokens that are drafted.
    fn row<'a>(&'a mut self, row: &'a [f32]) -> &'a [f32] {
        match self {
            Self::Same { vocab } => &row[..row.len().min(*vocab)],
            Self::Tokens(bridge) => {
                for &(target, draft) in &bridge.twins {
                    bridge.row[target as usize] = row[draft as usize];
                }
                &bridge.row
            }
            Self::Text(bridge) => &row[..row.len().min(bridge.vocab)],
        }
    }

    /// A drafted token as the draft reads it; none for one without a twin, which is never drafted.
    pub(super) fn fed(&self, token: TokenId) -> Option<TokenId> {
        match self {
            Self::Tokens(bridge) => bridge.overlap.right(token),
            Self::Same { .. } | Self::Text(_) => Some(token),
        }
    }

    /// A tree of drafted tokens as the draft reads it, behind the last token of its own text.
    pub(super) fn feed(&self, root: TokenId, tree: &mut DraftTree) {
        if let Self::Tokens(_) = self {
            tree.respell(|node, token| self.fed(token).filter(|_| node > 0).unwrap_or(root));
        }
    }

    /// The proposal that a task is sent for the draft's own `chain`, root and tokens.
    pub(super) fn send(&mut self, chain: &DraftTree, task: &mut DraftTask) {
        let Self::Text(bridge) = self else { return };
        let TextBridge { writer, proposed, .. } = &mut **bridge;
        proposed.clear();
        proposed.push(task.tree.token(0));
        writer.continue_with(&task.text, &chain.tokens()[1..], proposed);
        proposed.truncate(1 + task.room.nodes.min(task.room.depth));
        let sent = task.tree.set_chain(proposed);
        debug_assert!(sent.is_ok(), "what fits the room fits a chain");
        for node in 1..task.tree.len() {
            task.tree.set_estimate(node, RETOLD);
        }
    }
}

/// The rows of a sequence's last pass, as a draft that grows reads them.
pub(super) struct Rows<'a> {
    pub(super) model: &'a dyn Target,
    /// The sequence's place in the pass, and the node at which the draft begins.
    pub(super) item: usize,
    pub(super) first: NodeId,
    pub(super) bridge: &'a mut Bridge,
}

impl Rows<'_> {
    /// The row of a node of the draft.
    pub(super) fn at(&mut self, node: NodeId) -> &[f32] {
        self.bridge.row(self.model.logits(self.item, self.first + node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_twin_is_no_drafted_token() {
        let read = |file: &[u8]| Tokenizer::from_json(file, None).unwrap();
        let target = read(include_bytes!("../../../../../testdata/tokenizers/byte_level.json"));
        let draft = read(include_bytes!("../../../../../testdata/tokenizers/sentence_piece.json"));
        let sized = |tokenizer| (tokenizer, Tokenizer::vocab_size(tokenizer));
        let bridge = Bridge::tokens(sized(&target), sized(&draft));
        let fed = |piece| bridge.fed(target.id(piece).unwrap());
        assert_eq!((fed("a"), fed("<|begin|>")), (draft.id("a"), None));
    }
}
