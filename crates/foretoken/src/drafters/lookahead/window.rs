//! The two-dimensional window: n-grams that the target continues by one token each, side by side.
//!
//! Column `i` of the window is an n-gram in the making that begins `i` places behind the root; its tokens are
//! one row below the other. Row 0 holds the first tokens of all columns, that of column 0 being the root: the
//! text that the columns assume before them. So the window is a tree, row 0 its stem and each column a branch.
//! A pass tells what follows every branch. While the window grows that is a further row; once it is full, each
//! column with its new token is a whole n-gram, and the rows move up by one.

use foretoken_core::{BuildId, Role, TokenId, TreeBuilder};

use super::LookaheadShape;
use super::pool::Pool;
use crate::drafters::scatter::Scatter;
use crate::drafters::{DraftTask, Room};

#[derive(Debug)]
pub(super) struct Window {
    /// Columns of a full window.
    columns: usize,
    /// Tokens of an n-gram.
    ngram: usize,
    /// All of one length: while the window grows, a token per column and row that is still to come.
    rows: Vec<Vec<TokenId>>,
    /// By column, what follows it; none where it was not computed.
    next: Vec<Option<TokenId>>,
    column: Vec<TokenId>,
}

impl Window {
    pub(super) fn new(LookaheadShape { window, ngram, .. }: LookaheadShape) -> Self {
        let (rows, next, column) = (Vec::new(), Vec::new(), Vec::new());
        Self { columns: window, ngram, rows, next, column }
    }

    /// Begins with the stem alone, of random tokens of the text.
    pub(super) fn restart(&mut self, text: &[TokenId], scatter: &mut Scatter) {
        self.rows.clear();
        let (Some(&root), 1..) = (text.last(), self.columns) else { return };
        let random = (3..self.columns + self.ngram).map(|_| scatter.draw(text));
        self.rows.push(std::iter::once(root).chain(random).collect());
    }

    /// Makes n-grams of `ngram` tokens from now on: shorter ones of the first rows, longer ones anew.
    pub(super) fn resize(&mut self, ngram: usize, text: &[TokenId], scatter: &mut Scatter) {
        let longer = ngram > self.ngram;
        self.ngram = ngram;
        if longer {
            self.restart(text, scatter);
        }
        self.rows.truncate(ngram - 1);
        let columns = self.columns + ngram - 1 - self.rows.len();
        self.rows.iter_mut().for_each(|row| row.truncate(columns));
    }

    /// The rows, each with a token per column.
    #[cfg(test)]
    pub(super) fn rows(&self) -> &[Vec<TokenId>] {
        &self.rows
    }

    /// Adds whole columns to a draft as long as there is room, of a full window at most `most`.
    pub(super) fn place(
        &mut self,
        root: TokenId,
        most: usize,
        room: Room,
        builder: &mut TreeBuilder,
    ) {
        let Some((stem, branches)) = self.rows.split_first_mut() else { return };
        // The root was not known when the row was predicted.
        stem[0] = root;
        let growth = self.ngram - 2 - branches.len();
        let mut above = BuildId::ROOT;
        for (column, &first) in stem.iter().take(most + growth).enumerate() {
            let new = branches.len() + usize::from(column > 0);
            let fits = builder.len() - 1 + new <= room.nodes;
            if !fits || column + branches.len() > room.depth {
                return;
            }
            if column > 0 {
                let Ok(node) = builder.push(above, first, Role::Probe) else { return };
                above = node;
            }
            let mut at = above;
            for row in branches.iter() {
                let Ok(node) = builder.push(at, row[column], Role::Probe) else { return };
                at = node;
            }
        }
    }

    /// Takes in what a pass chose behind the columns. Full columns go to the pool with their new tokens.
    ///
    /// A random token of the text stands in for what was not computed and for ends of the text, which
    /// nothing follows.
    pub(super) fn advance(
        &mut self,
        task: &DraftTask,
        eos: &[TokenId],
        scatter: &mut Scatter,
        pool: &mut Pool,
    ) {
        self.read(task);
        if self.next.iter().all(Option::is_none) {
            return;
        }
        let Self { ngram, rows, next, column: tokens, .. } = self;
        let mut newest = |next: &[Option<TokenId>], row: &mut Vec<TokenId>| {
            row.clear();
            row.extend(next.iter().map(|next| {
                next.filter(|token| !eos.contains(token))
                    .unwrap_or_else(|| scatter.draw(&task.text))
            }));
        };
        if rows.len() < *ngram - 1 {
            let mut row = Vec::new();
            newest(&next[1..], &mut row);
            for row in rows.iter_mut() {
                row.remove(0);
            }
            rows.push(row);
            return;
        }
        for (column, last) in next.iter().enumerate() {
            tokens.clear();
            tokens.extend(rows.iter().map(|row| row[column]).chain(*last));
            if last.is_some() {
                pool.insert(tokens);
            }
        }
        rows.rotate_left(1);
        if let Some(row) = rows.last_mut() {
            newest(next, row);
        }
    }

    /// Finds every column in the verified tree again, wherever it went, and what was chosen behind it.
    fn read(&mut self, task: &DraftTask) {
        self.next.clear();
        let Some((stem, branches)) = self.rows.split_first() else { return };
        let below = |at: Option<_>, token| task.tree.child_with_token(at?, token);
        let mut above = Some(0);
        for (column, &first) in stem.iter().enumerate() {
            if column > 0 {
                above = below(above, first);
            }
            let end = branches.iter().fold(above, |at, row| below(at, row[column]));
            self.next.push(end.and_then(|node| task.choices.get(node)));
        }
    }
}
