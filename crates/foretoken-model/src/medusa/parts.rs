//! Which stored tensor is which part of which head.

use std::collections::{BTreeMap, HashSet};

use foretoken_core::TokenId;

use super::MedusaError;
use super::names::{self, HeadBias, HeadTensor, IN_MODEL, MedusaLayout, MedusaShape, Role};
use crate::store::Stored;

/// The parts of some heads, complete and of shapes that fit each other.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shape: MedusaShape,
    pub(super) layout: MedusaLayout,
    pub(super) token_map: Option<Vec<TokenId>>,
    pub(super) warnings: Vec<String>,
    names: BTreeMap<HeadTensor, String>,
}

/// Whether a tensor of a whole model belongs to its Medusa heads.
pub(crate) fn is_in_model(name: &str) -> bool {
    name.strip_prefix(IN_MODEL).is_some_and(|_| names::understand(name).is_some())
}

impl Parts {
    /// Sorts the tensors of a file or a whole model; `original` says that the model's own output matrix may
    /// be stored as that of head 0.
    pub(crate) fn sort<'a>(
        tensors: impl Iterator<Item = Stored<'a>>,
        original: bool,
    ) -> Result<Self, MedusaError> {
        let tensors: Vec<Stored<'_>> = tensors.collect();
        let in_model = tensors.iter().any(|tensor| tensor.name.starts_with(IN_MODEL));
        let mut found = Found::default();
        for tensor in tensors {
            if !in_model || tensor.name.starts_with(IN_MODEL) {
                found.add(tensor)?;
            }
        }
        found.parts(original)
    }

    /// The stored name of a tensor of these heads.
    pub(crate) fn name(&self, tensor: HeadTensor) -> &str {
        self.names.get(&tensor).map_or("", String::as_str)
    }
}

/// Tensors by their roles.
#[derive(Default)]
struct Found<'a> {
    layout: Option<MedusaLayout>,
    tensors: BTreeMap<HeadTensor, Stored<'a>>,
    /// Output matrices whose index says how many blocks there are.
    last: BTreeMap<usize, (usize, Stored<'a>)>,
    token_map: Option<Stored<'a>>,
    model_head: Option<Stored<'a>>,
}

impl<'a> Found<'a> {
    fn add(&mut self, stored: Stored<'a>) -> Result<(), MedusaError> {
        let surplus = || MedusaError::Surplus { name: stored.name.to_owned() };
        let (layout, role) = names::understand(stored.name).ok_or_else(surplus)?;
        if *self.layout.get_or_insert(layout) != layout {
            return Err(surplus());
        }
        let before = match role {
            Role::Head(tensor) => self.tensors.insert(tensor, stored),
            Role::Last { head, index } => {
                self.last.insert(head, (index, stored)).map(|(_, stored)| stored)
            }
            Role::ModelHead => self.model_head.replace(stored),
            Role::TokenMap => self.token_map.replace(stored),
        };
        match before {
            Some(first) => {
                let (first, second) = (first.name.to_owned(), stored.name.to_owned());
                Err(MedusaError::Twice { first, second })
            }
            None => Ok(()),
        }
    }

    fn parts(mut self, original: bool) -> Result<Parts, MedusaError> {
        let layout = self.layout.ok_or(MedusaError::NoHeads)?;
        let block_count = |tensor: &HeadTensor| match tensor {
            HeadTensor::Block { block, .. } | HeadTensor::BlockBias { block, .. } => block + 1,
            HeadTensor::Output { .. } => 0,
        };
        let blocks = self.tensors.keys().map(block_count).max().unwrap_or(0);
        for (head, (index, stored)) in std::mem::take(&mut self.last) {
            if index != blocks {
                return Err(MedusaError::Surplus { name: stored.name.to_owned() });
            }
            self.tensors.insert(HeadTensor::Output { head }, stored);
        }
        let copy = HeadTensor::Output { head: 0 };
        let outputs = self.tensors.keys().filter(|t| matches!(t, HeadTensor::Output { .. }));
        let shared = self.model_head.is_some() || original && outputs.count() == 1;
        let mut warnings = Vec::new();
        if shared {
            self.tensors.remove(&copy);
            warnings.push("the heads' output matrix is the model's own; using that".to_owned());
        }
        let shape = self.shape(blocks)?;
        // The shape came from the tensors present, so whatever it lists and is not there is missing.
        if let Some(missing) = shape.tensors().find(|tensor| !self.tensors.contains_key(tensor)) {
            return Err(MedusaError::Missing { name: names::name(layout, missing, blocks) });
        }
        for (&tensor, stored) in &self.tensors {
            let wanted = shape.dims(tensor);
            if stored.shape != wanted {
                let (name, found) = (stored.name.to_owned(), stored.shape.to_vec());
                return Err(MedusaError::Shape { name, found, wanted });
            }
        }
        let token_map = match (self.token_map, shape.vocab) {
            (Some(map), Some(rows)) => token_map(&map, rows, &mut warnings)?,
            _ => None,
        };
        let named = |(tensor, stored): (HeadTensor, Stored<'_>)| (tensor, stored.name.to_owned());
        let names = self.tensors.into_iter().map(named).collect();
        Ok(Parts { shape, layout, token_map, warnings, names })
    }

    fn shape(&self, blocks: usize) -> Result<MedusaShape, MedusaError> {
        let head_of = |tensor: &HeadTensor| match *tensor {
            HeadTensor::Block { head, .. }
            | HeadTensor::BlockBias { head, .. }
            | HeadTensor::Output { head } => head + 1,
        };
        let count = self.tensors.keys().map(head_of).max().ok_or(MedusaError::NoHeads)?;
        let is_bias = |tensor: &HeadTensor| matches!(tensor, HeadTensor::BlockBias { .. });
        let bias = if self.tensors.keys().any(is_bias) { HeadBias::All } else { HeadBias::None };
        let is_output = |tensor: &HeadTensor| matches!(tensor, HeadTensor::Output { .. });
        let output = self.tensors.iter().find(|(tensor, _)| is_output(tensor));
        let vocab = output.map(|(_, stored)| stored.shape.first().copied().unwrap_or(0));
        let innermost = |stored: &Stored<'_>| stored.shape.last().copied().unwrap_or(0);
        let hidden = self.tensors.values().next().map_or(0, innermost);
        if let Some((_, empty)) = self.tensors.iter().find(|(_, stored)| stored.shape.contains(&0))
        {
            return Err(MedusaError::Shape {
                name: empty.name.to_owned(),
                found: empty.shape.to_vec(),
                wanted: vec![hidden],
            });
        }
        Ok(MedusaShape { count, blocks, hidden, vocab, bias })
    }
}

/// The token of each row; `None` where the map chooses among rows that are all there.
fn token_map(
    stored: &Stored<'_>,
    rows: usize,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<TokenId>>, MedusaError> {
    let refuse = |problem: String| {
        Err(MedusaError::TokenMap { name: stored.name.to_owned(), rows, problem })
    };
    let width = match stored.format {
        Err("I64") => 8,
        Err("I32") => 4,
        other => return refuse(format!("it is stored as {other:?}")),
    };
    let &[length] = stored.shape else {
        return refuse(format!("its shape is {:?}", stored.shape));
    };
    if length < rows {
        warnings.push(format!("the token map chooses {length} of {rows} rows; using all"));
        return Ok(None);
    }
    if length > rows {
        return refuse(format!("it names {length}"));
    }
    let mut seen = HashSet::new();
    let mut tokens = Vec::with_capacity(length);
    for bytes in stored.data.chunks_exact(width) {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(bytes);
        match TokenId::try_from(u64::from_le_bytes(wide)) {
            Ok(token) if seen.insert(token) && token <= i32::MAX as TokenId => tokens.push(token),
            _ => return refuse(format!("row {} is negative or there twice", tokens.len())),
        }
    }
    Ok(Some(tokens))
}
