use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const VOCAB: usize = 4;

fn tokenizer(pieces: &[&str]) -> Tokenizer {
    let vocab: serde_json::Map<_, _> =
        (0..).zip(pieces).map(|(id, piece)| ((*piece).to_owned(), id.into())).collect();
    let json = serde_json::json!({
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false },
        "decoder": { "type": "ByteLevel" },
    });
    Tokenizer::from_json(json.to_string().as_bytes(), None).unwrap()
}

fn ours() -> Tokenizer {
    tokenizer(&["a", "b", "c", "d"])
}

/// An index in a folder of its own.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new(documents: &[Vec<TokenId>]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let tokens: usize = documents.iter().map(|document| document.len() + 1).sum();
        let documents = documents.iter().map(Vec::as_slice);
        let mut rounds = Vec::new();
        let mut tell = |round| rounds.push(round);
        let written = CorpusIndex::write(&made.file(), documents, &ours(), VOCAB, &mut tell);
        assert_eq!(written.unwrap(), tokens);
        assert_eq!(rounds, (1..=CorpusIndex::ROUNDS).collect::<Vec<_>>());
        made
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("corpus.index")
    }

    fn open(&self) -> CorpusIndex {
        CorpusIndex::open(&self.file(), &ours(), VOCAB).unwrap()
    }

    /// Why the file is refused once it was changed.
    fn refusal(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let whole = fs::read(self.file()).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(self.file(), bytes).unwrap();
        let error = CorpusIndex::open(&self.file(), &ours(), VOCAB).unwrap_err().to_string();
        fs::write(self.file(), whole).unwrap();
        assert!(error.contains("corpus.index") && !error.contains('\n'), "{error}");
        error
    }
}

/// Where `end` stands within a document, by looking everywhere, and what follows.
fn naive(documents: &[Vec<TokenId>], end: &[TokenId]) -> Vec<Vec<TokenId>> {
    let mut found = Vec::new();
    for document in documents {
        for start in 0..=document.len() {
            found.extend(document[start..].strip_prefix(end).map(<[_]>::to_vec));
        }
    }
    found.sort();
    found
}

proptest! {
    #[test]
    fn suffixes_are_in_the_order_of_their_first_tokens(
        tokens in vec(prop_oneof![4 => 0..3u32, 1 => Just(SEPARATOR)], 0..300),
        copies in 1..4usize,
    ) {
        // Copies agree beyond the depth of sorting.
        let tokens = tokens.repeat(copies);
        let order = suffixes::sorted(&tokens, &mut |_| {});
        let begin = |at: &u32| {
            let at = *at as usize;
            &tokens[at..tokens.len().min(at + suffixes::DEPTH)]
        };
        prop_assert!(order.is_sorted_by_key(begin));
        let mut places = order;
        places.sort_unstable();
        prop_assert!(places.iter().copied().eq(0..tokens.len() as u32), "each place once");
    }

    #[test]
    fn what_is_found_is_what_looking_everywhere_finds(
        documents in vec(vec(0..VOCAB as TokenId, 0..40), 1..5),
        end in vec(0..VOCAB as TokenId, 1..4),
    ) {
        let index = Made::new(&documents).open();
        let mut found: Vec<Vec<TokenId>> = index
            .find(&end)
            .map(|suffix| {
                let next = index.position(suffix).unwrap() + end.len();
                (next..).map_while(|position| index.token(position)).collect()
            })
            .collect();
        found.sort();
        prop_assert_eq!(found, naive(&documents, &end));
    }

    #[test]
    fn a_damaged_body_misleads_and_does_no_more(
        documents in vec(vec(0..VOCAB as TokenId, 0..20), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let made = Made::new(&documents);
        let mut bytes = fs::read(made.file()).unwrap();
        let body = bytes.len() - HEADER;
        for (at, byte) in damage {
            bytes[HEADER + at.index(body)] = byte;
        }
        fs::write(made.file(), bytes).unwrap();
        let index = made.open();
        let range = index.find(&[1, 2]);
        prop_assert!(range.end <= index.len());
        for position in range.filter_map(|suffix| index.position(suffix)) {
            prop_assert!(index.token(position).is_none_or(|token| (token as usize) < VOCAB));
        }
    }
}

#[test]
fn files_that_are_no_whole_index_for_the_model_are_refused_by_name() {
    let made = Made::new(&[vec![0, 1, 2, 3], vec![1, 2]]);
    assert_eq!(made.open().len(), 8);
    for length in [0, 5, 8, HEADER - 1] {
        let error = made.refusal(|bytes| bytes.truncate(length));
        assert!(error.contains("no index"), "{error}");
    }
    for length in [HEADER, HEADER + 40, HEADER + 63] {
        let error = made.refusal(|bytes| bytes.truncate(length));
        assert!(error.contains("bytes where its header asks for 96"), "{error}");
    }
    assert!(made.refusal(|bytes| bytes.push(0)).contains("97 bytes"));
    assert!(made.refusal(|bytes| bytes[0] = b'g').contains("no index"));
    assert!(made.refusal(|bytes| bytes[8] = 2).contains("layout 2"));
    assert!(made.refusal(|bytes| bytes[12] = 5).contains("vocabulary of 5"));
    let count = made.refusal(|bytes| bytes[16..24].fill(255));
    assert!(count.contains("asks for 147573952589676412952"), "{count}");
    assert!(made.refusal(|bytes| bytes[24] ^= 1).contains("another tokenizer"));

    let other = CorpusIndex::open(&made.file(), &tokenizer(&["a", "b", "d", "c"]), VOCAB);
    assert!(other.unwrap_err().to_string().contains("another tokenizer"));
    let absent = CorpusIndex::open(&made.folder.path().join("none"), &ours(), VOCAB);
    assert!(absent.unwrap_err().to_string().contains("none"));
    let folder = CorpusIndex::open(made.folder.path(), &ours(), VOCAB);
    assert!(folder.unwrap_err().to_string().contains("regular file"));
}

#[test]
fn padding_changes_no_fingerprint_and_another_piece_does() {
    let padded = tokenizer(&["a", "b", "c", "d", "[PAD4]"]);
    assert_eq!(padded.difference(&ours()), None);
    assert_eq!(padded.fingerprint(), ours().fingerprint());
    assert_ne!(tokenizer(&["a", "b", "c"]).fingerprint(), ours().fingerprint());
    // A piece is told from two.
    assert_ne!(tokenizer(&["ab", "c"]).fingerprint(), tokenizer(&["a", "bc"]).fingerprint());
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_sorted() {
    let file = Path::new("/no/such/folder/corpus.index");
    let mut tell = |_| panic!("sorted in vain");
    let error = CorpusIndex::write(file, std::iter::empty(), &ours(), VOCAB, &mut tell);
    assert!(error.unwrap_err().to_string().contains("/no/such/folder/corpus.index"));
}
