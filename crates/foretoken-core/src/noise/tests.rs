use super::*;

/// The vectors that Random123 publishes for philox4x32-10 (its file `kat_vectors`).
#[test]
fn philox_gives_the_published_answers() {
    let answers = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, answer) in answers {
        assert_eq!(block(counter, key), answer, "counter {counter:x?}, key {key:x?}");
    }
}

#[test]
fn fields_sit_in_the_words_they_are_documented_to_sit_in() {
    let noise = Noise { seed: 0x299f_31d0_a409_3822, choice: 0x1319_8a2e };
    let key = [0xa409_3822, 0x299f_31d0];
    let words = |number, half| {
        let domain = Domain::Residual.word() | half;
        block([number, 0x85a3_08d3, 0x1319_8a2e, domain], key)
    };
    let hash = |token| noise.hash(Domain::Residual, 0x85a3_08d3, token);
    for (token, number, word) in [(0, 0, 0), (5, 5, 0), (16, 0, 1), (63, 15, 3), (1_000, 248, 2)] {
        let [upper, lower] = [0, LOWER].map(|half| u64::from(words(number, half)[word]));
        assert_eq!(hash(token), upper << 32 | lower, "token {token}");
    }
}

#[test]
fn both_ends_are_finite() {
    let end = 0.5f64.powi(53);
    assert_eq!((uniform(0), uniform(u64::MAX)), (end, 1.0 - end));
    assert_eq!(gumbel(0).to_bits(), (-3.603_778_992_970_457_6_f64).to_bits());
    assert_eq!(gumbel(u64::MAX).to_bits(), 36.736_800_569_677_1_f64.to_bits());
    assert!(gumbel(u64::MAX) <= MAX_GUMBEL, "the bound of all noise holds");
}

#[test]
fn every_field_changes_the_noise() {
    let noise = Noise { seed: 7, choice: 1 };
    let base = noise.gumbel(Domain::Draw, 5, 9);
    let others = [
        Noise { seed: 8, ..noise }.gumbel(Domain::Draw, 5, 9),
        Noise { seed: 7 | 1 << 32, ..noise }.gumbel(Domain::Draw, 5, 9),
        Noise { choice: 2, ..noise }.gumbel(Domain::Draw, 5, 9),
        noise.gumbel(Domain::Accept, 5, 9),
        noise.gumbel(Domain::Draw, 6, 9),
        noise.gumbel(Domain::Draw, 5, 8),
        noise.gumbel(Domain::Draw, 5, 11),
        noise.at_step(0).gumbel(Domain::Draw, 5, 9),
        noise.at_step(1).gumbel(Domain::Draw, 5, 9),
        noise.at_step(1 << 32).gumbel(Domain::Draw, 5, 9),
        Noise { choice: 2, ..noise }.at_step(0).gumbel(Domain::Draw, 5, 9),
    ];
    for (i, a) in others.iter().enumerate() {
        assert_ne!(*a, base, "field {i} does not matter");
        assert!(!others[..i].contains(a), "fields {i} and an earlier one do the same");
    }
}

#[test]
fn words_of_a_chunk_are_those_of_its_tokens() {
    let noise = Noise { seed: u64::MAX - 4, choice: 3 }.at(Domain::Draw, u32::MAX);
    let mut words = [0; CHUNK];
    for first in [0, CHUNK as u32, u32::MAX - CHUNK as u32 + 1] {
        let largest = upper_words(noise, first, &mut words);
        assert_eq!(Some(largest), words.iter().copied().max());
        for (i, word) in (0..).zip(words) {
            assert_eq!(word, (noise.hash(first + i) >> 32) as u32, "token {}", first + i);
        }
    }
}
