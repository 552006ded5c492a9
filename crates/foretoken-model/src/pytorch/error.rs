//! Why a file of `torch.save` was refused.

use thiserror::Error;

/// Why a file written by `torch.save` could not be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PytorchError {
    /// The format before `PyTorch` 1.6.
    #[error(
        "the file is in torch.save's format before PyTorch 1.6, which is not read; convert it in Python: \
         torch.save(torch.load(file, map_location=\"cpu\", weights_only=True), new_file)"
    )]
    Legacy,
    /// No zip archive, or its end is missing.
    #[error(
        "the file has no directory of a zip archive at its end; it is truncated or damaged, download \
         it again"
    )]
    NoDirectory,
    /// A directory record that is none.
    #[error("the archive's directory is damaged at byte {at}; download the file again")]
    Directory {
        /// Where.
        at: usize,
    },
    /// Two entries of one name.
    #[error("the archive holds `{entry}` twice")]
    DuplicateEntry {
        /// The entry.
        entry: String,
    },
    /// A compressed or encrypted entry.
    #[error(
        "the archive's entry `{entry}` is compressed or encrypted; save it again with torch.save"
    )]
    Packed {
        /// The entry.
        entry: String,
    },
    /// An entry that does not lie in the file.
    #[error(
        "the archive's entry `{entry}` of {size} bytes does not lie in the file; it is truncated or \
         damaged, download it again"
    )]
    Entry {
        /// The entry.
        entry: String,
        /// Its claimed size.
        size: u64,
    },
    /// A zip archive of something else.
    #[error("the archive holds no `data.pkl`, so torch.save did not write it; name a checkpoint")]
    NoPickle,
    /// Numbers of a big-endian machine.
    #[error(
        "the numbers are stored {found}-endian; save the file again on a little-endian machine"
    )]
    ByteOrder {
        /// What the archive says.
        found: String,
    },
    /// A pickle beyond the limit.
    #[error("the archive's `data.pkl` has {bytes} bytes; at most {limit} are read")]
    PickleTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A pickle that ends before it is done.
    #[error("the archive's `data.pkl` ends early; the file is damaged, download it again")]
    PickleTruncated,
    /// A pickle that contradicts itself.
    #[error("the archive's `data.pkl` is damaged at byte {at}: {problem}; download the file again")]
    Pickle {
        /// Where.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// An instruction that tensors do not need.
    #[error(
        "the archive's `data.pkl` uses the pickle instruction 0x{opcode:02x} at byte {at}, which a file of \
         tensors does not need; save a plain dictionary of tensors"
    )]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Where.
        at: usize,
    },
    /// Something to import that is no part of a tensor.
    #[error(
        "the archive's `data.pkl` asks for `{name}`, which is refused: only tensors are read, and nothing \
         in the file is run; save a plain dictionary of tensors, or convert it to safetensors"
    )]
    Global {
        /// Module and name.
        name: String,
    },
    /// A file whose value is no dictionary of tensors.
    #[error(
        "the file holds a {found} where a dictionary of tensors is expected; save the module's \
         state_dict()"
    )]
    NoDictionary {
        /// What it holds.
        found: &'static str,
    },
    /// An entry of the dictionary that is no tensor.
    #[error("the dictionary's `{name}` is a {found}, not a tensor; save a state_dict() alone")]
    NoTensor {
        /// Its key.
        name: String,
        /// What it is.
        found: &'static str,
    },
    /// A tensor whose numbers are not in the archive.
    #[error(
        "the tensor `{name}` needs the archive's entry `{entry}`, which is missing; download the file again"
    )]
    NoStorage {
        /// Tensor name.
        name: String,
        /// The entry.
        entry: String,
    },
    /// A storage of another size than the pickle says.
    #[error(
        "the archive's entry `{entry}` has {found} bytes where {values} values of {size} bytes are \
         described; the file is damaged, download it again"
    )]
    StorageLength {
        /// The entry.
        entry: String,
        /// Its values.
        values: usize,
        /// Bytes of a value.
        size: usize,
        /// Its bytes.
        found: usize,
    },
    /// A view that skips or repeats values.
    #[error(
        "the tensor `{name}` of shape {shape:?} has the strides {strides:?}; call .contiguous() on it \
         before saving"
    )]
    Strided {
        /// Tensor name.
        name: String,
        /// Its shape, outermost first.
        shape: Vec<usize>,
        /// Values from one index to the next, per dimension.
        strides: Vec<usize>,
    },
    /// A tensor that leaves its storage.
    #[error(
        "the tensor `{name}` of shape {shape:?} at value {offset} leaves its storage of {values} values; \
         the file is damaged, download it again"
    )]
    Outside {
        /// Tensor name.
        name: String,
        /// Its shape, outermost first.
        shape: Vec<usize>,
        /// Where it starts, in values.
        offset: usize,
        /// Values of the storage.
        values: usize,
    },
}
