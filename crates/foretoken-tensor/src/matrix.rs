//! Views of stored matrices, and their conversion to the format they are packed in.

use thiserror::Error;

use crate::{QuantSpec, WeightFormat};

/// In which order a stored matrix holds its output rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As the program counts them.
    Natural,
    /// GGUF's Llama layout of query and key projections: within each head of `head_size` rows, row
    /// `2 i + h` holds what the halves layout of [`Op::Rotate`](crate::Op) calls row
    /// `i + h * head_size / 2`.
    InterleavedHeads {
        /// Rows per head.
        head_size: usize,
    },
}

impl RowOrder {
    /// The stored row that holds output `row`.
    pub fn stored(self, row: usize) -> usize {
        match self {
            Self::Natural => row,
            Self::InterleavedHeads { head_size } => {
                let (head, i, half) = (row / head_size, row % head_size, head_size / 2);
                head * head_size + 2 * (i % half) + i / half
            }
        }
    }
}

/// A stored matrix, borrowed: `rows` outputs of `cols` inputs each, row-major.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'a> {
    /// Tensor name, for errors.
    pub name: &'a str,
    /// Storage format.
    pub format: WeightFormat,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Order of the output rows.
    pub order: RowOrder,
    /// `rows` times the format's bytes per row; no alignment is assumed.
    pub data: &'a [u8],
}

impl<'a> MatrixView<'a> {
    /// Checks that the data have the length of the shape and that the row order fits it.
    pub fn check(&self) -> Result<(), PackError> {
        let block = self.format.spec().block_values;
        if !self.cols.is_multiple_of(block) {
            return Err(PackError::Block { name: self.name.into(), cols: self.cols, block });
        }
        let row_bytes = self.format.bytes_per_row(self.cols).unwrap_or(usize::MAX);
        let needed = row_bytes.saturating_mul(self.rows);
        if self.data.len() != needed {
            let (name, found) = (self.name.into(), self.data.len());
            return Err(PackError::Length {
                name,
                rows: self.rows,
                cols: self.cols,
                needed,
                found,
            });
        }
        if let RowOrder::InterleavedHeads { head_size } = self.order
            && (head_size == 0 || head_size % 2 != 0 || !self.rows.is_multiple_of(head_size))
        {
            let name = self.name.into();
            return Err(PackError::Heads { name, rows: self.rows, head_size });
        }
        Ok(())
    }

    /// The stored bytes of output `row`, wherever the row order puts them.
    ///
    /// # Panics
    /// If [`Self::check`] fails or `row` is out of range.
    pub fn row_bytes(&self, row: usize) -> &'a [u8] {
        assert!(row < self.rows, "row {row} of a matrix of {} rows", self.rows);
        let len = self.data.len() / self.rows;
        let start = self.order.stored(row) * len;
        &self.data[start..start + len]
    }

    /// Decodes output `row` to f32, exactly as its format defines; `out` has `cols` values.
    ///
    /// Refuses values that are not finite.
    ///
    /// # Panics
    /// As [`Self::row_bytes`], or if `out` has another length.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) -> Result<(), PackError> {
        assert_eq!(out.len(), self.cols, "a decoded row has one value per column");
        (self.format.spec().decode)(self.row_bytes(row), out);
        match out.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(col) => {
                let name = self.name.into();
                Err(PackError::NotFinite { name, row, col, value: out[col] })
            }
        }
    }

    /// Decodes all rows as [`Self::decode_row`] does, `[rows][cols]`.
    ///
    /// # Panics
    /// If [`Self::check`] fails.
    pub fn decode(&self) -> Result<Vec<f32>, PackError> {
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, values) in values.chunks_exact_mut(self.cols).enumerate() {
            self.decode_row(row, values)?;
        }
        Ok(values)
    }

    /// Prepares the conversion of this matrix to the rows of `format`, after [`Self::check`].
    pub fn convert(&self, format: WeightFormat) -> Result<RowConverter<'a>, PackError> {
        self.check()?;
        let target = format.spec();
        if self.format != format && target.encoder.is_none() {
            return Err(PackError::Target { name: self.name.into(), wanted: target.name });
        }
        let values = vec![0.0; self.cols.next_multiple_of(target.block_values)];
        Ok(RowConverter { view: *self, target, values })
    }
}

/// Converts the rows of a matrix, one at a time and in the program's order, to the format in which
/// they are packed.
///
/// Rows already in that format are copied, others decoded and encoded again; either way every value
/// is checked. Rows are padded with zeros to whole blocks.
#[derive(Debug, Clone)]
pub struct RowConverter<'a> {
    view: MatrixView<'a>,
    target: &'static QuantSpec,
    /// One decoded row and its padding.
    values: Vec<f32>,
}

impl RowConverter<'_> {
    /// Columns after padding.
    pub fn padded_cols(&self) -> usize {
        self.values.len()
    }

    /// Bytes of a converted row.
    pub fn row_bytes(&self) -> usize {
        self.values.len() / self.target.block_values * self.target.block_bytes
    }

    /// Converts output `row`; `out` has [`Self::row_bytes`] bytes.
    ///
    /// Refuses values that are not finite, or beyond what the format can represent.
    ///
    /// # Panics
    /// If `row` is out of range or `out` has another length.
    pub fn row(&mut self, row: usize, out: &mut [u8]) -> Result<(), PackError> {
        assert_eq!(out.len(), self.row_bytes(), "a converted row has whole blocks");
        let values = &mut self.values[..self.view.cols];
        self.view.decode_row(row, values)?;
        let Some(encoder) = self.target.encoder.filter(|_| self.view.format != self.target.format)
        else {
            out.copy_from_slice(self.view.row_bytes(row));
            return Ok(());
        };
        if let Some(col) = values.iter().position(|value| value.abs() > encoder.largest) {
            let (name, wanted, value) = (self.view.name.into(), self.target.name, values[col]);
            return Err(PackError::Range { name, row, col, value, wanted });
        }
        (encoder.run)(&self.values, out);
        Ok(())
    }
}

/// Why a matrix could not be packed.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PackError {
    /// A weight is infinite or not a number.
    #[error("tensor `{name}` holds {value} at [{row}, {col}]; weights must be finite")]
    NotFinite {
        /// Tensor name.
        name: String,
        /// Output row.
        row: usize,
        /// Input column.
        col: usize,
        /// The value found.
        value: f32,
    },
    /// The data do not have the length the shape asks for.
    #[error("tensor `{name}` has {found} bytes where its shape [{rows}, {cols}] needs {needed}")]
    Length {
        /// Tensor name.
        name: String,
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// A block format's block does not divide the row.
    #[error(
        "tensor `{name}` has rows of {cols} values, which is no multiple of its block of {block}"
    )]
    Block {
        /// Tensor name.
        name: String,
        /// Inputs.
        cols: usize,
        /// Values per block.
        block: usize,
    },
    /// The rows are no whole heads of an even size.
    #[error("tensor `{name}` has {rows} rows, which are no interleaved heads of {head_size}")]
    Heads {
        /// Tensor name.
        name: String,
        /// Outputs.
        rows: usize,
        /// Rows per head.
        head_size: usize,
    },
    /// A weight overflows the wanted format.
    #[error("tensor `{name}` holds {value} at [{row}, {col}], more than {wanted} can represent")]
    Range {
        /// Tensor name.
        name: String,
        /// Output row.
        row: usize,
        /// Input column.
        col: usize,
        /// The value found.
        value: f32,
        /// Name of the wanted format.
        wanted: &'static str,
    },
    /// No encoder to the wanted format exists; only matrices stored in it can be packed in it.
    #[error("tensor `{name}` cannot be packed as {wanted}; choose f32, f16, bf16, q8_0 or q4_0")]
    Target {
        /// Tensor name.
        name: String,
        /// Name of the wanted format.
        wanted: &'static str,
    },
}

#[cfg(test)]
mod tests;
