//! Losses of an output matrix.

use foretoken_train::{HeadGradient, HeadLoss, LossScratch, Targets, Teacher};

use crate::check::{
    assert_close, compute, differences, divergence, entropy, log_softmax, random, wide,
};

const ROWS: usize = 5;
const VOCAB: usize = 37;
const WIDTH: usize = 3;

fn logits(x: &[f64], head: &[f64], width: usize, row: usize) -> Vec<f64> {
    let x = &x[row * width..][..width];
    head.chunks(width).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum()).collect()
}

fn twin(loss: &HeadLoss<'_>, x: &[f64], head: &[f64]) -> f64 {
    let rows = (0..ROWS).map(|row| {
        let p = log_softmax(&logits(x, head, WIDTH, row));
        let hard = |tokens: &[u32]| entropy(&p, tokens[row]);
        let soft = |Teacher { hidden, head, width }: Teacher<'_>| -> f64 {
            divergence(&log_softmax(&logits(&wide(hidden), &wide(head), width, row)), &p)
        };
        let value = match loss.targets {
            Targets::Tokens(tokens) => hard(tokens),
            Targets::Teacher(teacher) => soft(teacher),
            Targets::Both(tokens, teacher, share) => {
                f64::from(1.0 - share) * hard(tokens) + f64::from(share) * soft(teacher)
            }
        };
        f64::from(loss.weights[row]) * value
    });
    rows.sum()
}

fn check(targets: Targets<'_>, mut scratch: LossScratch) {
    let (x, head) = (random(ROWS * WIDTH, 1), random(VOCAB * WIDTH, 2));
    let weights = [0.5, 0.0, 1.5, 1.0, 0.25];
    let loss = HeadLoss { hidden: &x, head: &head, width: WIDTH, targets, weights: &weights };
    let mut compute = compute();
    let wanted = twin(&loss, &wide(&x), &wide(&head));
    let found = loss.forward(&mut compute, &mut scratch);
    assert!((found / wanted - 1.0).abs() < 1e-6, "{found} instead of {wanted}");
    let (mut dx, mut dhead) = (vec![f32::NAN; x.len()], vec![0.0; head.len()]);
    let to = HeadGradient { hidden: &mut dx, head: Some(&mut dhead) };
    assert_eq!(loss.backward(&mut compute, &mut scratch, to), found);
    assert_close("dx", &dx, &differences(&x, |x| twin(&loss, x, &wide(&head))));
    assert_close("dhead", &dhead, &differences(&head, |head| twin(&loss, &wide(&x), head)));
}

#[test]
fn cross_entropy() {
    check(Targets::Tokens(&[0, 7, 36, 7, 1]), LossScratch::default());
}

#[test]
fn cross_entropy_in_blocks() {
    check(Targets::Tokens(&[0, 7, 36, 7, 1]), LossScratch::new(2 * VOCAB));
    check(Targets::Tokens(&[0, 7, 36, 7, 1]), LossScratch::new(1));
}

#[test]
fn divergence_from_a_teacher() {
    let (hidden, head) = (random(ROWS * 4, 5), random(VOCAB * 4, 6));
    let teacher = Teacher { hidden: &hidden, head: &head, width: 4 };
    check(Targets::Teacher(teacher), LossScratch::default());
    check(Targets::Teacher(teacher), LossScratch::new(3 * VOCAB));
    for share in [0.0, 0.5, 0.75, 1.0] {
        check(Targets::Both(&[0, 7, 36, 7, 1], teacher, share), LossScratch::new(2 * VOCAB));
    }
}

/// Ranks of targets, and of the teacher's likeliest tokens, each row alone in f64 and ties from the lower token.
fn check_ranks(targets: Targets<'_>) {
    let (x, mut head) = (random(ROWS * WIDTH, 1), random(VOCAB * WIDTH, 2));
    // A token as likely as another before it.
    head.copy_within(7 * WIDTH..8 * WIDTH, 30 * WIDTH);
    let weights = [1.0, 0.0, 1.0, 1.0, 1.0];
    let loss = HeadLoss { hidden: &x, head: &head, width: WIDTH, targets, weights: &weights };
    let wanted: Vec<_> = (0..ROWS)
        .map(|row| {
            let target = match targets {
                Targets::Tokens(tokens) => tokens[row] as usize,
                Targets::Teacher(t) | Targets::Both(_, t, _) => {
                    let said = logits(&wide(t.hidden), &wide(t.head), t.width, row);
                    (0..VOCAB).max_by(|a, b| said[*a].total_cmp(&said[*b])).expect("tokens")
                }
            };
            let said = logits(&wide(&x), &wide(&head), WIDTH, row);
            let is_likelier = |token: &usize| {
                said[*token] > said[target] || said[*token] == said[target] && *token < target
            };
            if weights[row] == 0.0 { 99 } else { (0..VOCAB).filter(is_likelier).count() as u32 }
        })
        .collect();
    for most in [usize::MAX, 2 * VOCAB, 1] {
        let mut found = [99; ROWS];
        let mut scratch = LossScratch::new(most);
        let sum = loss.ranks(&mut compute(), &mut scratch, &mut found);
        assert_eq!(sum, loss.forward(&mut compute(), &mut scratch));
        assert_eq!(found, *wanted, "at most {most} logits");
    }
    assert!(wanted.iter().any(|rank| *rank != 0), "the two differ: {wanted:?}");
}

#[test]
fn ranks_are_those_of_the_targets() {
    check_ranks(Targets::Tokens(&[7, 7, 30, 7, 30]));
    check_ranks(Targets::Tokens(&[0, 7, 36, 30, 1]));
}

#[test]
fn ranks_are_those_of_the_teachers_likeliest_tokens() {
    let (hidden, head) = (random(ROWS * 4, 5), random(VOCAB * 4, 6));
    let teacher = Teacher { hidden: &hidden, head: &head, width: 4 };
    check_ranks(Targets::Teacher(teacher));
    check_ranks(Targets::Both(&[7; ROWS], teacher, 0.5));
}
