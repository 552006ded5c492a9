//! Losses of an output matrix: cross-entropy with targets, and with the distribution of a teacher.
//!
//! Logits exist for a block of rows at a time, whatever the vocabulary. A row's loss has a weight, zero for rows
//! that are masked; the caller scales weights, so that a batch in pieces is the batch.

use std::iter;

use foretoken_core::TokenId;
use foretoken_cpu::{Matrix, Write};

use crate::compute::Compute;
use crate::vector;

/// Logits that exist at once unless a scratch says otherwise.
pub(crate) const LOGITS: usize = 4 << 20;

/// The loss of rows of hidden states under an output matrix.
#[derive(Debug, Clone, Copy)]
pub struct HeadLoss<'a> {
    /// `[rows][width]`.
    pub hidden: &'a [f32],
    /// `[vocab][width]`.
    pub head: &'a [f32],
    /// Width of a hidden state.
    pub width: usize,
    /// What the rows should say.
    pub targets: Targets<'a>,
    /// `[rows]`: what each row counts.
    pub weights: &'a [f32],
}

/// What rows should say.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// These tokens, one per row; the loss is the cross-entropy. A masked row's token may be any of the
    /// vocabulary.
    Tokens(&'a [TokenId]),
    /// What a teacher of the same vocabulary says; the loss is the Kullback-Leibler divergence from it.
    Teacher(Teacher<'a>),
    /// Both: the divergence counts so much, from 0 to 1, and the cross-entropy what is left of 1.
    Both(&'a [TokenId], Teacher<'a>, f32),
}

/// A distribution per row, as hidden states of a model and its output matrix.
#[derive(Debug, Clone, Copy)]
pub struct Teacher<'a> {
    /// `[rows][width]`.
    pub hidden: &'a [f32],
    /// `[vocab][width]`.
    pub head: &'a [f32],
    /// Width of its hidden states.
    pub width: usize,
}

/// Where the gradients of a [`HeadLoss`] go.
#[derive(Debug)]
pub struct HeadGradient<'a> {
    /// `[rows][width]`, replaced.
    pub hidden: &'a mut [f32],
    /// `[vocab][width]`, added to; none where the matrix is fixed.
    pub head: Option<&'a mut [f32]>,
}

/// Blocks of logits, kept between calls.
#[derive(Debug)]
pub struct LossScratch {
    most: usize,
    logits: Vec<f32>,
    teacher: Vec<f32>,
}

impl Default for LossScratch {
    fn default() -> Self {
        Self::new(LOGITS)
    }
}

impl LossScratch {
    /// What a block of the default size takes; with a teacher there is one more of its own.
    pub(crate) const BLOCK: usize = LOGITS * size_of::<f32>();

    /// Blocks of at most so many logits, or of one row.
    pub fn new(most: usize) -> Self {
        Self { most, logits: Vec::new(), teacher: Vec::new() }
    }
}

impl HeadLoss<'_> {
    /// Returns the weighted sum of the rows' losses, in nats, without gradients.
    pub fn forward(&self, compute: &mut Compute, scratch: &mut LossScratch) -> f64 {
        self.blocks(compute, scratch, &mut [], |_, _, _, _| {})
    }

    /// As [`Self::forward`]; writes how many tokens each row finds likelier than its target, or than the
    /// teacher's likeliest token where there is a teacher. The lower of two equally likely ones is the likelier. A
    /// masked row's rank is left alone.
    ///
    /// # Panics
    /// If there is not one rank per row.
    pub fn ranks(
        &self,
        compute: &mut Compute,
        scratch: &mut LossScratch,
        ranks: &mut [u32],
    ) -> f64 {
        assert!(ranks.len() == self.weights.len(), "one rank per row");
        self.blocks(compute, scratch, ranks, |_, _, _, _| {})
    }

    /// As [`Self::forward`], with gradients.
    pub fn backward(
        &self,
        compute: &mut Compute,
        scratch: &mut LossScratch,
        to: HeadGradient<'_>,
    ) -> f64 {
        let HeadGradient { hidden: dx, mut head } = to;
        let (width, weight) = (self.width, Matrix::new(self.head, self.width));
        self.blocks(compute, scratch, &mut [], |compute, first, x, d| {
            let dx = &mut dx[first * width..][..d.rows() * width];
            compute.multiply(d, weight, dx, Write::Store);
            if let Some(head) = &mut head {
                compute.multiply(d.transposed(), x, head, Write::Add);
            }
        })
    }

    /// Turns blocks of logits into their gradients and hands them to `then` with the hidden states and the
    /// first row. Ranks are written where there are any.
    fn blocks(
        &self,
        compute: &mut Compute,
        scratch: &mut LossScratch,
        ranks: &mut [u32],
        mut then: impl FnMut(&mut Compute, usize, Matrix<'_>, Matrix<'_>),
    ) -> f64 {
        let (x, head) = (Matrix::new(self.hidden, self.width), Matrix::new(self.head, self.width));
        let vocab = head.rows();
        let most = (scratch.most / vocab).max(1);
        let mut sum = 0.0;
        let mut ranks = ranks.iter_mut();
        for first in (0..x.rows()).step_by(most) {
            let rows = first..(first + most).min(x.rows());
            let x = x.block(rows.clone(), 0..self.width);
            let logits = product(compute, x, head, &mut scratch.logits);
            let (weights, mut losses) = (&self.weights[rows.clone()], vec![0.0; rows.len()]);
            let of_rows = losses.iter_mut().zip(weights).zip(logits.chunks_exact_mut(vocab));
            match &self.targets {
                Targets::Tokens(tokens) => {
                    let ranks = ranks.by_ref().map(Some).chain(iter::repeat_with(|| None));
                    let items = of_rows.zip(&tokens[rows]).zip(ranks);
                    compute.each(items, |((((loss, weight), logits), token), rank)| {
                        if let Some(rank) = rank
                            && **weight != 0.0
                        {
                            **rank = vector::rank(logits, **token as usize);
                        }
                        **loss = hard_row(logits, **token as usize, **weight);
                    });
                }
                Targets::Teacher(teacher) | Targets::Both(_, teacher, _) => {
                    let hidden = Matrix::new(teacher.hidden, teacher.width);
                    let hidden = hidden.block(rows, 0..teacher.width);
                    let head = Matrix::new(teacher.head, teacher.width);
                    let teacher = product(compute, hidden, head, &mut scratch.teacher);
                    let ranks = ranks.by_ref().map(Some).chain(iter::repeat_with(|| None));
                    let items = of_rows.zip(teacher.chunks_exact_mut(vocab)).zip(ranks).enumerate();
                    compute.each(items, |(row, ((((loss, weight), logits), teacher), rank))| {
                        if let Some(rank) = rank
                            && **weight != 0.0
                        {
                            **rank = vector::rank(logits, likeliest(teacher));
                        }
                        let token = match self.targets {
                            Targets::Both(tokens, _, share) => {
                                Some((tokens[first + *row] as usize, 1.0 - share))
                            }
                            _ => None,
                        };
                        **loss = soft_row(logits, teacher, token, **weight);
                    });
                }
            }
            sum += losses.iter().sum::<f64>();
            then(compute, first, x, Matrix::new(logits, vocab));
        }
        sum
    }
}

/// `x · headᵀ` in memory that is kept.
fn product<'a>(
    compute: &mut Compute,
    x: Matrix<'_>,
    head: Matrix<'_>,
    memory: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let len = x.rows() * head.rows();
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    compute.multiply(x, head.transposed(), &mut memory[..len], Write::Store);
    &mut memory[..len]
}

/// Cross-entropy of one row: `w (p - onehot)` replaces the logits.
fn hard_row(logits: &mut [f32], target: usize, weight: f32) -> f64 {
    if weight == 0.0 {
        logits.fill(0.0);
        return 0.0;
    }
    let logit = logits[target];
    let lse = vector::softmax(logits);
    vector::scale(logits, weight);
    logits[target] -= weight;
    f64::from(weight) * (f64::from(lse) - f64::from(logit))
}

/// The token with the largest logit.
fn likeliest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, token| if logits[token] > logits[best] { token } else { best })
}

/// Divergence of one row from the teacher's, mixed with the cross-entropy of a token that counts so much: `w (p - q)`
/// replaces the logits, where `q` is the teacher's probability, mixed with one at the token.
fn soft_row(
    logits: &mut [f32],
    teacher: &mut [f32],
    token: Option<(usize, f32)>,
    weight: f32,
) -> f64 {
    if weight == 0.0 {
        logits.fill(0.0);
        return 0.0;
    }
    // Σ q (ln q - ln p) = Σ q (t - s) - lse(t) + lse(s) with the logits t and s.
    let mut gap = vec![0.0; logits.len()];
    for ((gap, t), s) in gap.iter_mut().zip(&*teacher).zip(&*logits) {
        *gap = t - s;
    }
    let hard = token.map(|(token, share)| (f64::from(logits[token]), f64::from(share)));
    let of_teacher = f64::from(vector::softmax(teacher));
    let lse = f64::from(vector::softmax(logits));
    let divergence = f64::from(vector::dot(teacher, &gap)) - of_teacher + lse;
    if let Some((token, share)) = token {
        vector::scale(teacher, 1.0 - share);
        teacher[token] += share;
    }
    vector::subtract_scaled(logits, teacher, weight);
    let mixed = |(logit, share)| (1.0 - share) * divergence + share * (lse - logit);
    f64::from(weight) * hard.map_or(divergence, mixed)
}
