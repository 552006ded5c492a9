//! What a pickle of tensors is made of.

use super::StorageKind;

/// Where a value stands in the machine's arena.
pub(super) type Id = u32;

/// A value. Containers hold places in the arena, so values may share others at no cost, and nothing here
/// is recursive.
#[derive(Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Call(Call),
    Class(StorageKind),
    Storage(Storage<'a>),
    Tensor(Box<PickledTensor<'a>>),
}

/// What may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
}

/// A run of numbers in the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) kind: StorageKind,
    /// Name of the entry that holds it.
    pub(super) key: &'a str,
    pub(super) values: usize,
}

/// A view of a storage; offset and strides in values.
#[derive(Debug, Clone)]
pub(super) struct PickledTensor<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What the file holds: tensors by name, each name once.
#[derive(Debug)]
pub(super) struct Root<'a> {
    pub(super) tensors: Vec<(&'a str, PickledTensor<'a>)>,
}

impl Value<'_> {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "truth value",
            Self::Int(_) => "integer",
            Self::Float => "float",
            Self::Text(_) => "string",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dictionary",
            Self::Call(_) => "function",
            Self::Class(_) => "class",
            Self::Storage(_) => "storage",
            Self::Tensor(_) => "tensor",
        }
    }
}

/// What a pickle may import; `None` for all else.
pub(super) fn import(module: &str, name: &str) -> Option<Value<'static>> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Value::Call(Call::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Value::Call(Call::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Value::Call(Call::RebuildParameter),
        ("torch", class) => Value::Class(StorageKind::from_class(class)?),
        _ => return None,
    })
}
