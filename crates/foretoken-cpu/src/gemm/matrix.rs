//! Views of matrices in memory: shared ones in any order, exclusive ones that part by rows and columns.

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read: a block of a stored one, as stored or transposed.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` values, one after another.
    ///
    /// # Panics
    /// If the values are no whole rows.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "the values are whole rows");
        Self { values, rows: values.len() / columns, columns, row_step: columns, column_step: 1 }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The transpose, of the same memory.
    #[must_use]
    pub fn transposed(self) -> Self {
        let Self { values, rows, columns, row_step, column_step } = self;
        Self { values, rows: columns, columns: rows, row_step: column_step, column_step: row_step }
    }

    /// The block of these rows and columns.
    ///
    /// # Panics
    /// If it is not within the matrix.
    #[must_use]
    pub fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of the matrix");
        assert!(columns.start <= columns.end && columns.end <= self.columns, "columns of it");
        let start = rows.start * self.row_step + columns.start * self.column_step;
        let values = self.values.get(start..).unwrap_or_default();
        Self { values, rows: rows.len(), columns: columns.len(), ..self }
    }

    /// A row whose values are neighbours.
    ///
    /// # Panics
    /// If the matrix is transposed, or has no such row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(self.column_step == 1 && row < self.rows, "a row of the matrix as stored");
        &self.values[row * self.row_step..][..self.columns]
    }

    /// Values between a row's neighbours, and between a column's; one of them is 1.
    pub(super) fn steps(&self) -> (usize, usize) {
        (self.row_step, self.column_step)
    }

    /// The values from the first on.
    pub(super) fn values(&self) -> &'a [f32] {
        self.values
    }
}

/// A matrix to write: a block of a stored one, whose rows are runs of memory.
///
/// It is what `&mut [f32]` is to a vector: nothing else reaches the block while it lives. Blocks of columns,
/// which no slices can be, go to threads through [`MatrixMut::column_blocks`].
#[derive(Debug)]
pub struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: exclusive access to plain values, as `&mut [f32]`.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: a shared reference only reads, as `&&mut [f32]`.
unsafe impl Sync for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// Rows of `columns` values, one after another.
    ///
    /// # Panics
    /// If the values are no whole rows.
    pub fn new(values: &'a mut [f32], columns: usize) -> Self {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "the values are whole rows");
        let rows = values.len() / columns;
        let memory = PhantomData;
        Self { start: values.as_mut_ptr(), rows, columns, stride: columns, memory }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "a row of the matrix");
        // SAFETY: the row lies within the block, of which `self` is the only way in.
        unsafe { std::slice::from_raw_parts(self.start.add(row * self.stride), self.columns) }
    }

    /// One row, to write.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "a row of the matrix");
        // SAFETY: as in `row`, and `&mut self` excludes everyone else.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }

    /// Its first value, and values between rows.
    pub(crate) fn as_mut_ptr(&mut self) -> (*mut f32, usize) {
        (self.start, self.stride)
    }

    /// The block of these rows and columns, for a while.
    ///
    /// # Panics
    /// If it is not within the matrix.
    pub fn block(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        // SAFETY: the result borrows `self` exclusively.
        unsafe { self.part(rows, columns) }
    }

    /// The matrix for a while.
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        self.block(0..self.rows, 0..self.columns)
    }

    /// Blocks of so many rows, the last of what is left.
    ///
    /// # Panics
    /// If `size` is zero.
    pub fn row_blocks(self, size: usize) -> impl Iterator<Item = MatrixMut<'a>> {
        assert!(size > 0, "blocks have rows");
        let (rows, columns) = (self.rows, self.columns);
        (0..rows).step_by(size).map(move |row| {
            // SAFETY: the blocks are disjoint, and `self` was consumed.
            unsafe { self.part(row..rows.min(row + size), 0..columns) }
        })
    }

    /// Blocks of so many columns, the last of what is left.
    ///
    /// # Panics
    /// If `size` is zero.
    pub fn column_blocks(self, size: usize) -> impl Iterator<Item = MatrixMut<'a>> {
        assert!(size > 0, "blocks have columns");
        let (rows, columns) = (self.rows, self.columns);
        (0..columns).step_by(size).map(move |column| {
            // SAFETY: the blocks are disjoint, and `self` was consumed.
            unsafe { self.part(0..rows, column..columns.min(column + size)) }
        })
    }

    /// # Safety
    /// While the result lives, so does the memory, and no other reference to any of its elements is used, on any
    /// thread.
    ///
    /// # Panics
    /// If it is not within the matrix.
    pub(super) unsafe fn part<'b>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> MatrixMut<'b> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows of the matrix");
        assert!(columns.start <= columns.end && columns.end <= self.columns, "columns of it");
        let start = self.start.wrapping_add(rows.start * self.stride + columns.start);
        let (rows, columns) = (rows.len(), columns.len());
        MatrixMut { start, rows, columns, stride: self.stride, memory: PhantomData }
    }
}
