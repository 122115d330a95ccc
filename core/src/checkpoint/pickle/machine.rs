//! A pickle of a state dict, read without doing what it says.
//!
//! A pickle is a program for a stack machine, and Python's may call anything. This machine knows the instructions that
//! `torch.save` needs for dictionaries of tensors (protocol 2) and the few names of [`Known`], each of which only writes
//! down what would be made. Anything else ends the reading. Source: CPython's `pickletools.py`, and PyTorch's
//! `_weights_only_unpickler.py`, which allows about as much.
//!
//! candle's unpickler is not used: it takes memory for whatever length a file states, copies what the memo holds on each
//! use, so that a few hundred bytes can ask for more than any machine has, nests values as deep as the file likes, fails by
//! panic on short tuples, and passes over what is no tensor without a word. Here values are small and copied by number, so
//! that nothing nests; the memory taken is at most a few dozen bytes an instruction.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::Dtype;

use super::PickleError;

/// Most instructions of one pickle: a tensor takes about 40, so that this is room for 200,000 in one file.
const MAX_INSTRUCTIONS: usize = 1 << 23;

/// Longest name of a storage.
const MAX_KEY_BYTES: usize = 100;

/// A value on the stack. What holds others is a number or a range, so that every value is as small as this.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Known(Known),
    /// Items of [`Machine::items`].
    Tuple {
        first: usize,
        count: usize,
    },
    /// What a list holds plays no part in a state dict.
    List,
    /// Position in [`Machine::dicts`].
    Dict(usize),
    /// Position in [`Machine::storages`].
    Storage(usize),
    /// Position in [`Machine::tensors`].
    Tensor(usize),
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: (storage, offset, size, stride, requires_grad, hooks[, metadata]).
    RebuildTensorV2,
    /// `torch._utils._rebuild_tensor_v3`: the same with the dtype after the hooks, for dtypes without a storage class.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter`: (tensor, requires_grad, hooks).
    RebuildParameter,
    /// `torch.FloatStorage` and the like.
    StorageOf(Dtype),
    /// `torch.storage.UntypedStorage`: bytes.
    Untyped,
    /// `torch.float8_e4m3fn` and the like.
    DtypeOf(Dtype),
}

impl Known {
    fn find(module: &str, name: &str) -> Option<Self> {
        let found = match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch.storage", "UntypedStorage") => Self::Untyped,
            ("torch", "DoubleStorage") => Self::StorageOf(Dtype::F64),
            ("torch", "FloatStorage") => Self::StorageOf(Dtype::F32),
            ("torch", "HalfStorage") => Self::StorageOf(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::StorageOf(Dtype::BF16),
            ("torch", "LongStorage") => Self::StorageOf(Dtype::I64),
            ("torch", "IntStorage") => Self::StorageOf(Dtype::I32),
            ("torch", "ShortStorage") => Self::StorageOf(Dtype::I16),
            ("torch", "CharStorage") => Self::StorageOf(Dtype::I8),
            ("torch", "ByteStorage") => Self::StorageOf(Dtype::U8),
            ("torch", "BoolStorage") => Self::StorageOf(Dtype::BOOL),
            ("torch", "ComplexFloatStorage") => Self::StorageOf(Dtype::C64),
            ("torch", "float8_e4m3fn") => Self::DtypeOf(Dtype::F8_E4M3),
            ("torch", "float8_e5m2") => Self::DtypeOf(Dtype::F8_E5M2),
            ("torch", "float8_e8m0fnu") => Self::DtypeOf(Dtype::F8_E8M0),
            ("torch", "uint16") => Self::DtypeOf(Dtype::U16),
            ("torch", "uint32") => Self::DtypeOf(Dtype::U32),
            ("torch", "uint64") => Self::DtypeOf(Dtype::U64),
            _ => return None,
        };
        Some(found)
    }
}

/// A storage: an entry of the archive, read as elements of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    /// The entry's name under `data/`.
    pub key: &'a str,
    /// `None` where it is bytes.
    pub dtype: Option<Dtype>,
    /// How many elements it should have; of bytes, how many bytes.
    pub elements: u64,
}

/// A tensor as the pickle describes it: elements of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// Position in [`Machine::storages`].
    pub storage: usize,
    pub dtype: Dtype,
    /// Elements before the first.
    pub offset: u64,
    /// Dimensions, and elements from one index to the next in each, as ranges of [`Machine::items`]: a pickle may make any
    /// number of tensors of one tuple.
    size: Range<usize>,
    stride: Range<usize>,
}

/// The machine after its last instruction.
#[derive(Default)]
pub(super) struct Machine<'a> {
    pub storages: Vec<Storage<'a>>,
    pub tensors: Vec<Tensor>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    items: Vec<Value<'a>>,
    stack: Vec<Value<'a>>,
    /// How high the stack was at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
}

/// Reads `pickle` to its end; gives the machine and the value that is left.
pub(super) fn run(pickle: &[u8]) -> Result<(Machine<'_>, Value<'_>), PickleError> {
    let mut machine = Machine::default();
    let mut code = Code { bytes: pickle, at: 0 };
    for _ in 0..MAX_INSTRUCTIONS {
        let at = code.at;
        match machine.step(&mut code) {
            Ok(true) => {}
            Ok(false) => {
                let value = machine.stack.pop();
                return value.map(|value| (machine, value)).ok_or(PickleError::Malformed { at });
            }
            Err(Stop::Malformed) => return Err(PickleError::Malformed { at }),
            Err(Stop::Instruction(instruction)) => return Err(PickleError::Instruction { instruction, at }),
            Err(Stop::Refused(error)) => return Err(error),
        }
    }
    Err(PickleError::TooLong { what: "more instructions than those of 200,000 tensors" })
}

/// Why an instruction was not carried out.
enum Stop {
    /// It finds something else than it needs.
    Malformed,
    /// It is not among those known.
    Instruction(u8),
    Refused(PickleError),
}

/// The bytes of a pickle, taken one after another.
struct Code<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Code<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(Stop::Malformed)?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N)?.try_into().map_err(|_| Stop::Malformed)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn text(&mut self, count: usize) -> Result<&'a str, Stop> {
        std::str::from_utf8(self.take(count)?).map_err(|_| Stop::Malformed)
    }

    fn line(&mut self) -> Result<&'a str, Stop> {
        let rest = self.bytes.get(self.at..).ok_or(Stop::Malformed)?;
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or(Stop::Malformed)?;
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }
}

impl<'a> Machine<'a> {
    /// The entries of a dictionary, in the order in which they were set.
    pub(super) fn dict(&self, position: usize) -> &[(Value<'a>, Value<'a>)] {
        &self.dicts[position]
    }

    /// Dimensions and strides of a tensor; `None` where they are no two lists of sizes of one length, of at most `most`.
    pub(super) fn layout(&self, tensor: &Tensor, most: usize) -> Option<(Vec<u64>, Vec<u64>)> {
        let numbers = |range: &Range<usize>| {
            let items = self.items.get(range.clone()).filter(|items| items.len() <= most)?;
            let number =
                |value: &Value<'a>| if let Value::Int(number) = value { u64::try_from(*number).ok() } else { None };
            items.iter().map(number).collect::<Option<Vec<u64>>>()
        };
        let (shape, stride) = (numbers(&tensor.size)?, numbers(&tensor.stride)?);
        (shape.len() == stride.len()).then_some((shape, stride))
    }

    /// Carries out one instruction; `false` after the last.
    fn step(&mut self, code: &mut Code<'a>) -> Result<bool, Stop> {
        let value = match code.byte()? {
            b'.' => return Ok(false),
            // PROTO: newer protocols would have instructions that are not known here.
            0x80 => {
                code.byte()?;
                return Ok(true);
            }
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(true);
            }
            // BINPUT, LONG_BINPUT.
            put @ (b'q' | b'r') => {
                let key = if put == b'q' { u32::from(code.byte()?) } else { code.u32()? };
                let value = *self.stack.last().ok_or(Stop::Malformed)?;
                self.memo.insert(key, value);
                return Ok(true);
            }
            // BINGET, LONG_BINGET.
            get @ (b'h' | b'j') => {
                let key = if get == b'h' { u32::from(code.byte()?) } else { code.u32()? };
                *self.memo.get(&key).ok_or(Stop::Malformed)?
            }
            // GLOBAL.
            b'c' => {
                let (module, name) = (code.line()?, code.line()?);
                let refused = || Stop::Refused(PickleError::global(module, name));
                Value::Known(Known::find(module, name).ok_or_else(refused)?)
            }
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            // BININT, BININT1, BININT2, LONG1.
            b'J' => Value::Int(i32::from_le_bytes(code.array()?).into()),
            b'K' => Value::Int(code.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(code.array()?).into()),
            0x8a => {
                let count = code.byte()?;
                Value::Int(long(code.take(count.into())?).ok_or(Stop::Malformed)?)
            }
            b'G' => {
                code.array::<8>()?;
                Value::Float
            }
            // BINUNICODE.
            b'X' => {
                let count = code.u32()?;
                Value::Text(code.text(count as usize)?)
            }
            b']' => Value::List,
            b'}' => self.new_dict(),
            b')' => self.tuple(self.stack.len())?,
            b't' => {
                let mark = self.mark()?;
                self.tuple(mark)?
            }
            // TUPLE1 to TUPLE3.
            tuple @ 0x85..=0x87 => {
                let count = usize::from(tuple - 0x84);
                self.tuple(self.stack.len().checked_sub(count).ok_or(Stop::Malformed)?)?
            }
            // APPEND, APPENDS.
            append @ (b'a' | b'e') => {
                let first = if append == b'a' { self.stack.len().checked_sub(1) } else { Some(self.mark()?) };
                self.stack.truncate(first.ok_or(Stop::Malformed)?);
                return if let Some(Value::List) = self.stack.last() { Ok(true) } else { Err(Stop::Malformed) };
            }
            // SETITEM, SETITEMS.
            set @ (b's' | b'u') => {
                let first = if set == b's' { self.stack.len().checked_sub(2) } else { Some(self.mark()?) };
                self.set_items(first.ok_or(Stop::Malformed)?)?;
                return Ok(true);
            }
            // BUILD gives an object attributes. PyTorch gives a state dict one, `_metadata`, which says nothing of tensors.
            b'b' => {
                self.pop()?;
                return if let Some(Value::Dict(_)) = self.stack.last() { Ok(true) } else { Err(Stop::Malformed) };
            }
            // BINPERSID: what the archive holds beside the pickle, which are storages.
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?
            }
            // REDUCE: a call.
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?
            }
            other => return Err(Stop::Instruction(other)),
        };
        self.stack.push(value);
        Ok(true)
    }

    fn pop(&mut self) -> Result<Value<'a>, Stop> {
        // What lies below a mark belongs to whoever set it.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(Stop::Malformed);
        }
        self.stack.pop().ok_or(Stop::Malformed)
    }

    fn mark(&mut self) -> Result<usize, Stop> {
        self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or(Stop::Malformed)
    }

    /// Makes a tuple of what lies on the stack from `from` on.
    fn tuple(&mut self, from: usize) -> Result<Value<'a>, Stop> {
        let first = self.items.len();
        self.items.extend(self.stack.drain(from..));
        Ok(Value::Tuple { first, count: self.items.len() - first })
    }

    fn new_dict(&mut self) -> Value<'a> {
        self.dicts.push(Vec::new());
        Value::Dict(self.dicts.len() - 1)
    }

    /// Puts pairs of keys and values, which lie on the stack from `from` on, into the dictionary below them.
    fn set_items(&mut self, from: usize) -> Result<(), Stop> {
        let below = from.checked_sub(1).ok_or(Stop::Malformed)?;
        let Value::Dict(dict) = self.stack[below] else { return Err(Stop::Malformed) };
        let (pairs, rest) = self.stack[from..].as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Stop::Malformed);
        }
        self.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)));
        self.stack.truncate(from);
        Ok(())
    }

    fn items(&self, value: Value<'a>) -> Result<&[Value<'a>], Stop> {
        let Value::Tuple { first, count } = value else { return Err(Stop::Malformed) };
        self.items.get(first..first + count).ok_or(Stop::Malformed)
    }

    /// ('storage', class, key, device, elements).
    fn storage(&mut self, id: Value<'a>) -> Result<Value<'a>, Stop> {
        let &[Value::Text("storage"), Value::Known(class), Value::Text(key), _device, Value::Int(elements)] =
            self.items(id)?
        else {
            return Err(Stop::Malformed);
        };
        let dtype = match class {
            Known::StorageOf(dtype) => Some(dtype),
            Known::Untyped => None,
            _ => return Err(Stop::Malformed),
        };
        // Each tensor looks its storage up by this name, so that it must be a short one; PyTorch counts from 0.
        if key.len() > MAX_KEY_BYTES {
            return Err(Stop::Malformed);
        }
        let elements = u64::try_from(elements).map_err(|_| Stop::Malformed)?;
        self.storages.push(Storage { key, dtype, elements });
        Ok(Value::Storage(self.storages.len() - 1))
    }

    /// What a call would make.
    fn call(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>, Stop> {
        let Value::Known(known) = callable else { return Err(Stop::Malformed) };
        let arguments = self.items(arguments)?;
        match (known, arguments) {
            (Known::OrderedDict, []) => Ok(self.new_dict()),
            (Known::RebuildParameter, &[tensor @ Value::Tensor(_), _requires_grad, _hooks]) => Ok(tensor),
            (
                Known::RebuildTensorV2,
                &[Value::Storage(storage), offset, size, stride, _grad, _hooks, ref rest @ ..],
            ) => {
                self.no_metadata(rest)?;
                let dtype = self.storages[storage].dtype.ok_or(Stop::Malformed)?;
                self.tensor(storage, dtype, offset, [size, stride])
            }
            (
                Known::RebuildTensorV3,
                &[
                    Value::Storage(storage),
                    offset,
                    size,
                    stride,
                    _grad,
                    _hooks,
                    Value::Known(Known::DtypeOf(dtype)),
                    ref rest @ ..,
                ],
            ) => {
                self.no_metadata(rest)?;
                self.tensor(storage, dtype, offset, [size, stride])
            }
            _ => Err(Stop::Malformed),
        }
    }

    /// Metadata says that elements mean something else than they say: conjugated, or negated.
    fn no_metadata(&self, rest: &[Value<'a>]) -> Result<(), Stop> {
        match rest {
            [] | [Value::None] => Ok(()),
            &[Value::Dict(dict)] if self.dicts[dict].is_empty() => Ok(()),
            _ => Err(Stop::Refused(PickleError::Lazy)),
        }
    }

    fn tensor(
        &mut self,
        storage: usize,
        dtype: Dtype,
        offset: Value<'a>,
        [size, stride]: [Value<'a>; 2],
    ) -> Result<Value<'a>, Stop> {
        let Value::Int(offset) = offset else { return Err(Stop::Malformed) };
        let offset = u64::try_from(offset).map_err(|_| Stop::Malformed)?;
        let range = |value| match value {
            Value::Tuple { first, count } => Ok(first..first + count),
            _ => Err(Stop::Malformed),
        };
        let (size, stride) = (range(size)?, range(stride)?);
        self.tensors.push(Tensor { storage, dtype, offset, size, stride });
        Ok(Value::Tensor(self.tensors.len() - 1))
    }
}

/// A signed integer of up to 8 bytes, little endian.
fn long(bytes: &[u8]) -> Option<i64> {
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(pickle: &[u8]) -> PickleError {
        run(pickle).map(|(_, value)| value).expect_err("it is refused")
    }

    #[test]
    fn what_pickles_are_made_of_is_understood() {
        // {'a': ((1, -2, 300, 70000, None, True, 0.5),)}, with a list and an attribute that say nothing.
        let tuple = b"(K\x01J\xfe\xff\xff\xffM\x2c\x01J\x70\x11\x01\x00N\x88G\x3f\xe0\x00\x00\x00\x00\x00\x00tq\x01";
        let list = b"X\x01\x00\x00\x00b](K\x01K\x02e";
        let pickle = [b"\x80\x02}(X\x01\x00\x00\x00a", &tuple[..], b"\x85", list, b"u}b."].concat();
        let (machine, value) = run(&pickle).unwrap();
        let Value::Dict(dict) = value else { panic!("{value:?} is no dictionary") };
        let [(Value::Text("a"), Value::Tuple { first, count: 1 }), (Value::Text("b"), Value::List)] =
            *machine.dict(dict)
        else {
            panic!("{:?}", machine.dict(dict));
        };
        let Value::Tuple { first, count: 7 } = machine.items[first] else { panic!("a tuple in it") };
        let number = |item: &Value<'_>| if let Value::Int(number) = item { Some(*number) } else { None };
        let numbers: Vec<i64> = machine.items[first..first + 7].iter().filter_map(number).collect();
        assert_eq!(numbers, [1, -2, 300, 70000]);
        // POP, which PyTorch never writes.
        assert!(matches!(stopped(b"N0."), PickleError::Instruction { instruction: b'0', at: 1 }));
    }

    #[test]
    fn long_integers_have_a_sign_and_at_most_eight_bytes() {
        assert_eq!(long(&[]), Some(0));
        assert_eq!(long(&[0x2c, 0x01]), Some(300));
        assert_eq!(long(&[0xfe]), Some(-2));
        assert_eq!(long(&[0xff, 0x00]), Some(255));
        assert_eq!(long(&[0; 9]), None);
    }

    #[test]
    fn every_name_but_the_few_is_refused() {
        for name in ["os\nsystem", "builtins\neval", "torch._utils\n_rebuild_qtensor", "torch\nload", "\n"] {
            let error = stopped(format!("c{name}\n)R.").as_bytes());
            let PickleError::Global { module, name: found } = &error else { panic!("{error:?}") };
            assert_eq!(format!("{module}\n{found}"), name);
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        // A million tuples, one in the other; and dictionaries that hold themselves.
        let deep = [&b"N"[..], &vec![0x85; 1_000_000], b"."].concat();
        assert!(matches!(run(&deep), Ok((_, Value::Tuple { count: 1, .. }))));
        assert!(run(b"}q\x00K\x01h\x00s.").is_ok());
    }

    #[test]
    fn what_the_memo_holds_is_not_copied() {
        // Each tuple holds the last one twice: 2⁶⁰ values, written out.
        let mut pickle = b"Nq\x00".to_vec();
        for _ in 0..60 {
            pickle.extend(b"h\x00h\x00\x86q\x00");
        }
        pickle.push(b'.');
        let (machine, _) = run(&pickle).unwrap();
        assert_eq!(machine.items.len(), 120);
    }

    #[test]
    fn lengths_that_lie_take_no_memory() {
        assert!(matches!(stopped(b"X\xff\xff\xff\xff."), PickleError::Malformed { at: 0 }));
        assert!(matches!(stopped(b"N\x8a\xff."), PickleError::Malformed { at: 1 }));
    }

    #[test]
    fn instructions_without_what_they_need_are_refused() {
        for pickle in [
            "", "t", "\u{0}", "s", "u", "(u", "b", "R", ")R", "Q", "NQ", "q\u{0}", "h\u{0}", "a", "(e", "]Na", "(N",
            ".",
        ] {
            assert!(run(pickle.as_bytes()).is_err(), "{pickle:?}");
        }
        // Nothing is taken from below a mark that is still open.
        assert!(matches!(stopped(b"NN(R."), PickleError::Malformed { at: 3 }));
    }

    #[test]
    fn a_pickle_without_an_end_ends() {
        let endless = vec![b'N'; MAX_INSTRUCTIONS + 1];
        assert!(matches!(stopped(&endless), PickleError::TooLong { .. }));
    }
}
