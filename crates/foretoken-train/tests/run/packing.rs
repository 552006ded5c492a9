//! Laws of packing: every target follows its token, every learned token is learned once per epoch, nothing
//! reaches over a document, and any place can be returned to.

use std::collections::BTreeMap;

use foretoken_train::Batch;
use foretoken_train::data::{Corpus, Document, Reader};
use proptest::prelude::*;

use crate::support::{corpus, count};

/// Tokens that say where they are from.
const PER_DOCUMENT: u32 = 64;

fn document(index: usize, learned: Vec<bool>) -> Document {
    let tokens = (0..learned.len() as u32).map(|i| index as u32 * PER_DOCUMENT + i).collect();
    Document::new(tokens, learned).expect("something to learn")
}

/// Documents of 2 to 40 tokens whose last is learned, others perhaps.
fn corpora() -> impl Strategy<Value = Corpus> {
    let document_marks = prop::collection::vec(any::<bool>(), 1..40);
    prop::collection::vec(document_marks, 1..12).prop_map(|documents| {
        let mut corpus = Corpus::default();
        for (index, mut learned) in documents.into_iter().enumerate() {
            learned.push(true);
            corpus.push(&document(index, learned));
        }
        corpus
    })
}

/// Whether a token is learned in the corpus.
fn is_learned(corpus: &Corpus, token: u32) -> bool {
    corpus.document((token / PER_DOCUMENT) as usize).1[(token % PER_DOCUMENT) as usize]
}

/// Checks each row, and returns the learned targets.
fn check(corpus: &Corpus, batch: &Batch<'_>) -> Vec<u32> {
    let mut targets = Vec::new();
    for (index, (&token, &target)) in batch.tokens.iter().zip(batch.targets).enumerate() {
        let (row, start) = (index % batch.length, batch.starts[index] as usize);
        assert!(start <= row);
        assert_eq!(batch.starts[index - (row - start)] as usize, start, "a start is its own");
        // Rows of one document are consecutive from its start, so no row sees another document.
        assert_eq!(batch.tokens[index - (row - start)] as usize + row - start, token as usize);
        if start == row && row > 0 {
            assert_ne!(batch.targets[index - 1], token, "a document is cut at ends only");
        }
        assert_eq!(target, token + 1);
        assert_eq!(token / PER_DOCUMENT, target / PER_DOCUMENT);
        assert_eq!(batch.weights[index] > 0.0, is_learned(corpus, target));
        targets.extend((batch.weights[index] > 0.0).then_some(target));
    }
    targets
}

fn counts(targets: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for target in targets {
        *counts.entry(*target).or_default() += 1;
    }
    counts
}

proptest! {
    #[test]
    fn an_epoch_teaches_each_learned_token_once(
        corpus in corpora(), length in 1usize..18, sequences in 1usize..4, seed: u64,
    ) {
        let learned = corpus.learned();
        let mut reader = Reader::new(corpus.clone(), length, seed);
        let mut targets = Vec::new();
        while targets.len() < 3 * learned {
            let batch = reader.next(sequences);
            prop_assert_eq!(batch.len(), sequences);
            prop_assert_eq!(batch.batch().tokens.len(), sequences * length);
            let weight: f32 = batch.batch().weights.iter().sum();
            prop_assert!((weight - 1.0).abs() < 1e-4);
            for one in batch.pieces(count(1)) {
                prop_assert!(one.weights.iter().any(|weight| *weight > 0.0));
            }
            targets.extend(check(&corpus, &batch.batch()));
        }
        for epoch in targets.chunks_exact(learned) {
            let counts = counts(epoch);
            prop_assert!(counts.len() == learned && counts.values().all(|times| *times == 1));
        }
    }

    #[test]
    fn any_place_can_be_returned_to(
        corpus in corpora(), length in 1usize..18, steps in 0usize..30, seed: u64,
    ) {
        let mut reader = Reader::new(corpus.clone(), length, seed);
        (0..steps).for_each(|_| drop(reader.next(2)));
        let mut again = Reader::new(corpus, length, seed);
        again.seek(reader.position()).expect("a place of this text");
        for _ in 0..6 {
            prop_assert_eq!(reader.next(2), again.next(2));
            prop_assert_eq!(reader.position(), again.position());
        }
    }

    #[test]
    fn held_out_text_is_read_once_and_padded(
        corpus in corpora(), length in 1usize..18, most in 0usize..9,
    ) {
        let first = Reader::first(corpus.clone(), length, most);
        prop_assert!(first.len() <= most);
        let whole = Reader::first(corpus.clone(), length, usize::MAX);
        prop_assert_eq!(&whole.batch().tokens[..first.len() * length], first.batch().tokens);
        let targets: Vec<_> = whole.batch().targets.iter().zip(whole.batch().weights)
            .filter(|(_, weight)| **weight > 0.0).map(|(target, _)| *target).collect();
        prop_assert!(counts(&targets).values().all(|times| *times == 1));
        prop_assert_eq!(targets.len(), corpus.learned());
    }

    #[test]
    fn pieces_are_the_batch(corpus in corpora(), sequences in 1usize..6, piece in 1usize..8) {
        let batch = Reader::new(corpus, 7, 1).next(sequences);
        let pieces: Vec<_> = batch.pieces(count(piece)).collect();
        prop_assert_eq!(pieces.len(), sequences.div_ceil(piece));
        let join = |of: fn(&Batch<'_>) -> Vec<u32>| pieces.iter().flat_map(of).collect::<Vec<_>>();
        prop_assert_eq!(join(|piece| piece.tokens.to_vec()), batch.batch().tokens);
        prop_assert_eq!(join(|piece| piece.targets.to_vec()), batch.batch().targets);
        prop_assert_eq!(join(|piece| piece.starts.to_vec()), batch.batch().starts);
        let weights: Vec<_> = pieces.iter().flat_map(|piece| piece.weights.to_vec()).collect();
        prop_assert_eq!(weights, batch.batch().weights);
    }
}

#[test]
fn order_is_of_seed_and_epoch() {
    let tokens = |seed, skip| {
        let mut reader = Reader::new(corpus(40), 16, seed);
        while reader.position().epoch < skip {
            reader.next(1);
        }
        reader.next(2).batch().tokens.to_vec()
    };
    assert_eq!(tokens(1, 0), tokens(1, 0));
    assert_ne!(tokens(1, 0), tokens(2, 0));
    assert_ne!(tokens(1, 0), tokens(1, 1));
}

#[test]
fn text_that_is_held_out_is_not_learned() {
    let mut whole = Corpus::default();
    for index in 0..400 {
        // Every document stands there twice.
        let learned = vec![true; 3 + index / 2 % 7];
        whole.push(&document(index / 2, learned));
    }
    let ids = |corpus: &Corpus| -> Vec<u32> {
        (0..corpus.len()).map(|index| corpus.document(index).0[0]).collect()
    };
    let (learned, held_out) = whole.clone().hold_out(0.1);
    assert_eq!(learned.len() + held_out.len(), 400);
    assert!((10..80).contains(&held_out.len()), "about a tenth: {}", held_out.len());
    assert!(ids(&held_out).iter().all(|id| !ids(&learned).contains(id)), "copies stay together");
    let mut grown = whole.clone();
    grown.push(&document(900, vec![true; 9]));
    let more = ids(&grown.hold_out(0.1).1);
    assert!(ids(&held_out).iter().all(|id| more.contains(id)), "sides stay as they are");
    assert_eq!(whole.clone().hold_out(0.0).1.len(), 0);
    for (documents, share) in [(2, 1e-9), (2, 0.5), (2, 1.0), (3, 1e-9)] {
        let held_out = corpus(documents).hold_out(share).1;
        assert_eq!(held_out.len(), 1, "one of {documents} at {share}");
    }
    let (learned, held_out) = corpus(9).hold_out(1.0);
    assert_eq!((learned.len(), held_out.len()), (1, 8), "one is learned");
    let mut copies = corpus(1);
    copies.push(
        &Document::new(corpus(1).document(0).0.to_vec(), corpus(1).document(0).1.to_vec())
            .expect("a copy"),
    );
    assert_eq!(copies.hold_out(0.5).0.len(), 2, "copies stay together");
    assert_eq!(corpus(1).hold_out(0.5).0.len(), 1, "the only one is learned");
    assert_ne!(whole.fingerprint(), learned.fingerprint());
    assert_eq!(whole.fingerprint(), whole.clone().fingerprint());
}
