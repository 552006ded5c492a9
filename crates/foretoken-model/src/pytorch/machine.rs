//! The stack machine of Python's pickles, reduced to what a dictionary of tensors needs.
//!
//! The instructions are those that Python's pickler writes in protocols 2 to 5 for dictionaries, lists,
//! tuples, strings, numbers and calls (`pickletools.py` documents each). Every instruction makes at most
//! one value of bounded size beyond what it takes from the stack, so memory is in proportion to the pickle.

use std::collections::{HashMap, HashSet};

use super::PytorchError;
use super::value::{Call, Id, PickledTensor, Root, Storage, Value, import};

/// Longest string, in bytes.
const MAX_TEXT: usize = 4096;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;

/// A pickle being read.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    arena: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            arena: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Reads the whole pickle.
    pub(super) fn run(mut self) -> Result<Root<'a>, PytorchError> {
        loop {
            let at = self.at;
            match self.byte()? {
                b'.' => break,
                opcode => self.step(opcode, at)?,
            }
        }
        let root = self.pop()?;
        let Value::Dict(pairs) = &self.arena[root as usize] else {
            return Err(PytorchError::NoDictionary { found: self.value(root).kind() });
        };
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for &(key, value) in pairs {
            let Value::Text(name) = *self.value(key) else {
                return Err(self.damaged("a key of the dictionary is no string"));
            };
            if !names.insert(name) {
                return Err(self.damaged("a key of the dictionary is there twice"));
            }
            match self.value(value) {
                Value::Tensor(tensor) => tensors.push((name, PickledTensor::clone(tensor))),
                other => {
                    let (name, found) = (name.to_owned(), other.kind());
                    return Err(PytorchError::NoTensor { name, found });
                }
            }
        }
        Ok(Root { tensors })
    }

    fn step(&mut self, opcode: u8, at: usize) -> Result<(), PytorchError> {
        let value = match opcode {
            0x80 => return self.take(1).map(drop), // protocol
            0x95 => return self.take(8).map(drop), // length of a frame
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'q' => return self.byte().and_then(|index| self.put(index.into())),
            b'r' => return self.number().and_then(|index| self.put(index)),
            0x94 => return self.put(self.memo.len() as u32),
            b'h' => return self.byte().and_then(|index| self.get(index.into())),
            b'j' => return self.number().and_then(|index| self.get(index)),
            b's' | b'u' => return self.set_items(opcode == b's'),
            b'a' | b'e' => return self.append(opcode == b'a'),
            b'b' => return self.build(),
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(self.array().map(u16::from_le_bytes)?.into()),
            b'J' => Value::Int(self.array().map(i32::from_le_bytes)?.into()),
            0x8a => self.long()?,
            b'G' => self.take(8).map(|_| Value::Float)?,
            b'X' => {
                let length = self.number()? as usize;
                self.text(length)?
            }
            0x8c => {
                let length = self.byte()? as usize;
                self.text(length)?
            }
            b')' => Value::Tuple(Vec::new()),
            0x85..=0x87 => self.tuple(opcode as usize - 0x84)?,
            b't' => Value::Tuple(self.pop_to_mark()?),
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                global(module, name)?
            }
            0x93 => self.stack_global()?,
            b'Q' => self.storage()?,
            b'R' => return self.call(),
            opcode => return Err(PytorchError::Opcode { opcode, at }),
        };
        self.push(value);
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.arena.len() as Id);
        self.arena.push(value);
    }

    /// Takes the top of the stack, above the last mark.
    fn pop(&mut self) -> Result<Id, PytorchError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.damaged("the stack is empty"));
        }
        self.stack.pop().ok_or(PytorchError::PickleTruncated)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PytorchError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.damaged("there is no mark")),
        }
    }

    fn put(&mut self, index: u32) -> Result<(), PytorchError> {
        let Some(&top) = self.stack.last() else {
            return Err(self.damaged("the stack is empty"));
        };
        self.memo.insert(index, top);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), PytorchError> {
        let Some(&value) = self.memo.get(&index) else {
            return Err(self.damaged("a remembered value was never put"));
        };
        self.stack.push(value);
        Ok(())
    }

    fn set_items(&mut self, one: bool) -> Result<(), PytorchError> {
        let items = self.items(if one { Some(2) } else { None })?;
        let target = self.top()?;
        let damage = self.damaged("items are set on what is no dictionary");
        let Value::Dict(pairs) = &mut self.arena[target as usize] else { return Err(damage) };
        let (found, rest) = items.as_chunks::<2>();
        pairs.extend(found.iter().map(|&[key, value]| (key, value)));
        if rest.is_empty() { Ok(()) } else { Err(self.damaged("a key has no value")) }
    }

    fn append(&mut self, one: bool) -> Result<(), PytorchError> {
        let items = self.items(if one { Some(1) } else { None })?;
        let target = self.top()?;
        let damage = self.damaged("a value is appended to what is no list");
        let Value::List(list) = &mut self.arena[target as usize] else { return Err(damage) };
        list.extend(items);
        Ok(())
    }

    /// So many values of the stack, or all above the mark.
    fn items(&mut self, count: Option<usize>) -> Result<Vec<Id>, PytorchError> {
        let Some(count) = count else { return self.pop_to_mark() };
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn tuple(&mut self, count: usize) -> Result<Value<'a>, PytorchError> {
        self.items(Some(count)).map(Value::Tuple)
    }

    /// An object's attributes: those of a `state_dict` are version numbers.
    fn build(&mut self) -> Result<(), PytorchError> {
        self.pop()?;
        let target = self.top()?;
        match self.value(target) {
            Value::Dict(_) => Ok(()),
            _ => Err(self.damaged("attributes are set on what has none")),
        }
    }

    fn top(&self) -> Result<Id, PytorchError> {
        self.stack.last().copied().ok_or_else(|| self.damaged("the stack is empty"))
    }

    fn long(&mut self) -> Result<Value<'a>, PytorchError> {
        let length = self.byte()? as usize;
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(self.damaged("an integer is too large"));
        }
        let negative = bytes.last().is_some_and(|&last| last >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..length].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, length: usize) -> Result<Value<'a>, PytorchError> {
        if length > MAX_TEXT {
            return Err(self.damaged("a string is too long"));
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Value::Text)
            .map_err(|_| self.damaged("a string is no UTF-8"))
    }

    fn stack_global(&mut self) -> Result<Value<'a>, PytorchError> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.value(module), self.value(name)) {
            (Value::Text(module), Value::Text(name)) => global(module, name),
            _ => Err(self.damaged("an import has no name")),
        }
    }

    /// A persistent id: `("storage", class, key, location, values)`.
    fn storage(&mut self) -> Result<Value<'a>, PytorchError> {
        let id = self.pop()?;
        let storage = || {
            let Value::Tuple(parts) = self.value(id) else { return None };
            let &[tag, class, key, _, values] = &parts[..] else { return None };
            match (self.value(tag), self.value(class), self.value(key)) {
                (Value::Text("storage"), &Value::Class(kind), &Value::Text(key)) => {
                    Some(Storage { kind, key, values: self.size(values)? })
                }
                _ => None,
            }
        };
        storage().map(Value::Storage).ok_or_else(|| self.damaged("a storage is described wrongly"))
    }

    fn call(&mut self) -> Result<(), PytorchError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Call(call), Value::Tuple(arguments)) =
            (self.value(function), self.value(arguments))
        else {
            return Err(self.damaged("a call has no function or no arguments"));
        };
        match (call, &arguments[..]) {
            (Call::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Call::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor([storage, offset, shape, strides]);
                let damage = || self.damaged("a tensor is described wrongly");
                let tensor = tensor.ok_or_else(damage)?;
                self.push(Value::Tensor(Box::new(tensor)));
            }
            (Call::RebuildParameter, &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err(self.damaged("a call has the wrong arguments")),
        }
        Ok(())
    }

    fn tensor(&self, [storage, offset, shape, strides]: [Id; 4]) -> Option<PickledTensor<'a>> {
        let Value::Storage(storage) = *self.value(storage) else { return None };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        let offset = self.size(offset)?;
        (shape.len() == strides.len()).then_some(PickledTensor { storage, offset, shape, strides })
    }

    fn sizes(&self, tuple: Id) -> Option<Vec<usize>> {
        let Value::Tuple(sizes) = self.value(tuple) else { return None };
        if sizes.len() > MAX_DIMS {
            return None;
        }
        sizes.iter().map(|&size| self.size(size)).collect()
    }

    fn size(&self, id: Id) -> Option<usize> {
        match *self.value(id) {
            Value::Int(size) => usize::try_from(size).ok(),
            _ => None,
        }
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.arena[id as usize]
    }

    fn damaged(&self, problem: &'static str) -> PytorchError {
        PytorchError::Pickle { at: self.at, problem }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PytorchError> {
        let rest = &self.bytes[self.at..];
        let (taken, _) = rest.split_at_checked(count).ok_or(PytorchError::PickleTruncated)?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PytorchError> {
        let bytes = self.take(N)?;
        bytes.first_chunk().copied().ok_or(PytorchError::PickleTruncated)
    }

    fn byte(&mut self) -> Result<u8, PytorchError> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, PytorchError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Up to the end of a line.
    fn line(&mut self) -> Result<&'a str, PytorchError> {
        let rest = &self.bytes[self.at..];
        let reach = &rest[..rest.len().min(MAX_TEXT)];
        let Some(length) = reach.iter().position(|&byte| byte == b'\n') else {
            return Err(self.damaged("a name has no end"));
        };
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| self.damaged("a name is no UTF-8"))
    }
}

/// What `module.name` stands for, if it may be imported.
fn global<'a>(module: &str, name: &str) -> Result<Value<'a>, PytorchError> {
    import(module, name).ok_or_else(|| {
        let name = format!("{module}.{name}").escape_debug().take(120).collect();
        PytorchError::Global { name }
    })
}
