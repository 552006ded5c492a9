//! Files of torch.save that lie, and pickles that ask for more than tensors.

use std::fs;
use std::path::Path;

use foretoken_model::{HeadTensor, MedusaHeads};

use crate::support::{one_line, testdata};

/// How an archive's numbers are written.
#[derive(Clone, Copy, PartialEq)]
enum Width {
    Narrow,
    Zip64,
}

/// A zip archive of stored entries.
fn zip(entries: &[(&str, &[u8])], method: u16, width: Width) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, data) in entries {
        let header = file.len() as u64;
        let size = data.len() as u64;
        let (narrow, extra) = match width {
            Width::Narrow => ([size as u32, size as u32, header as u32], vec![]),
            Width::Zip64 => {
                let numbers = [size, size, header].map(u64::to_le_bytes).concat();
                ([u32::MAX; 3], [&[9, 9, 2, 0, 7, 7, 1, 0, 24, 0][..], &numbers].concat())
            }
        };
        let common = [20u16.to_le_bytes(), [0; 2], method.to_le_bytes(), [0; 2], [0; 2]].concat();
        let sizes = [[0; 4], narrow[0].to_le_bytes(), narrow[1].to_le_bytes()].concat();
        let name_length = (name.len() as u16).to_le_bytes();
        file.extend(
            [b"PK\x03\x04", &common[..], &sizes, &name_length, &5u16.to_le_bytes()].concat(),
        );
        file.extend([name.as_bytes(), &[0; 5], data].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &sizes, &name_length].concat());
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(narrow[2].to_le_bytes());
        directory.extend([name.as_bytes(), &extra].concat());
    }
    let start = file.len() as u64;
    file.extend(&directory);
    let (mut size, mut at) = (directory.len() as u32, start as u32);
    if width == Width::Zip64 {
        let end64 = file.len() as u64;
        file.extend([b"PK\x06\x06", &[0; 36][..]].concat());
        file.extend([directory.len() as u64, start].map(u64::to_le_bytes).concat());
        file.extend([b"PK\x06\x07\0\0\0\0", &end64.to_le_bytes()[..], &[1, 0, 0, 0]].concat());
        (size, at) = (u32::MAX, u32::MAX);
    }
    file.extend(
        [b"PK\x05\x06", &[0; 8][..], &size.to_le_bytes(), &at.to_le_bytes(), &[0; 2]].concat(),
    );
    file
}

/// The message with which a file of heads is refused.
fn refused(file: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("medusa_lm_head.pt"), file).unwrap();
    message(&folder.path().join("medusa_lm_head.pt"))
}

fn message(path: &Path) -> String {
    one_line(&MedusaHeads::open_file(path).expect_err("the file is refused"))
}

fn assert_refused(file: &[u8], expected: &str) {
    let found = refused(file);
    assert!(found.contains(expected), "{found} / {expected}");
}

/// An archive of a pickle and a storage of four f32 numbers.
fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])], 0, Width::Narrow)
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn sizes(sizes: &[i32]) -> Vec<u8> {
    let numbers: Vec<u8> =
        sizes.iter().flat_map(|n| [b"J", &n.to_le_bytes()[..]].concat()).collect();
    [b"(", &numbers[..], b"t"].concat()
}

/// What is wrong with a tensor, where something is.
struct Described<'a> {
    class: &'a str,
    key: &'a str,
    values: i32,
    offset: i32,
    shape: &'a [i32],
    strides: &'a [i32],
}

const SOUND: Described<'_> = Described {
    class: "FloatStorage",
    key: "0",
    values: 4,
    offset: 0,
    shape: &[2, 2],
    strides: &[2, 1],
};

/// A dictionary whose `0.0.linear.weight` is the tensor described.
fn dictionary(tensor: &Described<'_>) -> Vec<u8> {
    let class = format!("ctorch\n{}\n", tensor.class);
    let number = |n: i32| [b"J", &n.to_le_bytes()[..]].concat();
    [
        b"\x80\x02}".to_vec(),
        text("0.0.linear.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        class.into_bytes(),
        text(tensor.key),
        text("cuda:0"),
        number(tensor.values),
        b"tQ".to_vec(),
        number(tensor.offset),
        sizes(tensor.shape),
        sizes(tensor.strides),
        b"\x89ccollections\nOrderedDict\n)RtRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn sound_archives_of_either_width_open() {
    let pickle = dictionary(&SOUND);
    let numbers = [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    for width in [Width::Narrow, Width::Zip64] {
        let entries =
            [("a/data.pkl", &pickle[..]), ("a/byteorder", b"little"), ("a/data/0", &numbers)];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heads.pt");
        fs::write(&path, zip(&entries, 0, width)).unwrap();
        let heads = MedusaHeads::open_file(&path).unwrap();
        let mut row = [0.0; 2];
        heads.matrix(HeadTensor::Block { head: 0, block: 0 }).decode_row(1, &mut row).unwrap();
        assert_eq!(row, [3.0, 4.0]);
    }
}

#[test]
fn nothing_but_tensors_is_asked_for() {
    for (pickle, name) in [
        (b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.".to_vec(), "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.".to_vec(), "builtins.eval"),
        (b"\x80\x02ctorch\nload\n.".to_vec(), "torch.load"),
        (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.".to_vec(), "torch._utils._rebuild_qtensor"),
        (b"\x80\x02cos\nli\x1bnes\n.".to_vec(), r"os.li\u{1b}nes"),
        (
            dictionary(&Described { class: "ComplexFloatStorage", ..SOUND }),
            "torch.ComplexFloatStorage",
        ),
    ] {
        assert_refused(&archive(&pickle), &format!("asks for `{name}`, which is refused"));
    }
    for opcode in [b'i', b'o', 0x81, 0x92, 0x82, b'P', b'd', b'0', 0x8f, 0x98] {
        let found = format!("the pickle instruction 0x{opcode:02x} at byte 2");
        assert_refused(&archive(&[0x80, 2, opcode, b'.']), &found);
    }
}

#[test]
fn pickles_that_contradict_themselves_are_refused() {
    let long = [b"X", &5000u32.to_le_bytes()[..], &[b'a'; 5000]].concat();
    for (pickle, problem) in [
        (&b""[..], "`data.pkl` ends early"),
        (b"X\xff\xff", "ends early"),
        (b".", "the stack is empty"),
        (b"(.", "the stack is empty"),
        (b"N(\x85.", "the stack is empty"),
        (b"t.", "there is no mark"),
        (b"h\x05.", "was never put"),
        (b"q\x05.", "the stack is empty"),
        (b"K\x01K\x02K\x03s.", "no dictionary"),
        (b"}(K\x01u.", "has no value"),
        (b"}K\x01a.", "no list"),
        (b"NNb.", "has none"),
        (b"N)R.", "no function"),
        (b"ccollections\nOrderedDict\nN\x85R.", "wrong arguments"),
        (b"NQ.", "a storage is described wrongly"),
        (b"\x8a\x09123456789.", "too large"),
        (b"X\x01\0\0\0\xff.", "no UTF-8"),
        (&long, "too long"),
        (b"N.", "holds a None where a dictionary"),
        (b"].", "holds a list where a dictionary"),
        (b"}K\x01K\x02s.", "is no string"),
        (b"}X\x01\0\0\0aK\x02s.", "`a` is a integer, not a tensor"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNt R.", "0x20"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.", "a tensor is described wrongly"),
    ] {
        assert_refused(&archive(pickle), problem);
    }
    let twice = dictionary(&SOUND);
    let twice = [&twice[..twice.len() - 1], &twice[3..]].concat();
    assert_refused(&archive(&twice), "there twice");
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let huge: &[i32] = &[i32::MAX; 8];
    for (tensor, problem) in [
        (Described { key: "1", ..SOUND }, "needs the archive's entry `a/data/1`, which is missing"),
        (Described { key: "../data.pkl", ..SOUND }, "which is missing"),
        (Described { values: 5, ..SOUND }, "has 16 bytes where 5 values of 4 bytes"),
        (Described { values: -1, ..SOUND }, "a storage is described wrongly"),
        (Described { class: "HalfStorage", ..SOUND }, "where 4 values of 2 bytes"),
        (Described { offset: 1, ..SOUND }, "of shape [2, 2] at value 1 leaves its storage of 4"),
        (Described { offset: -1, ..SOUND }, "described wrongly"),
        (Described { shape: &[2, 3], strides: &[3, 1], ..SOUND }, "leaves its storage"),
        (Described { shape: &[2], ..SOUND }, "described wrongly"),
        (Described { shape: huge, strides: huge, ..SOUND }, "has the strides"),
        (Described { shape: &[1; 9], strides: &[1; 9], ..SOUND }, "described wrongly"),
        (Described { strides: &[1, 2], ..SOUND }, "has the strides [1, 2]; call .contiguous()"),
        (Described { strides: &[0, 0], ..SOUND }, "has the strides [0, 0]"),
        (Described { class: "IntStorage", ..SOUND }, "is stored as I32"),
    ] {
        assert_refused(&archive(&dictionary(&tensor)), problem);
    }
}

#[test]
fn other_files_of_torch_are_refused_with_advice() {
    let legacy = message(&testdata("medusa/legacy.pt"));
    assert!(
        legacy.contains("format before PyTorch 1.6") && legacy.contains("torch.load"),
        "{legacy}"
    );
    let strided = message(&testdata("medusa/strided.pt"));
    assert!(strided.contains("`0.1.weight` of shape [24, 8] has the strides [1, 24]"), "{strided}");
    let pickle = dictionary(&SOUND);
    let sound: (&str, &[u8]) = ("a/data.pkl", &pickle);
    let big = zip(&[sound, ("a/byteorder", b"big")], 0, Width::Narrow);
    assert_refused(&big, "stored big-endian");
    assert_refused(&zip(&[sound], 8, Width::Narrow), "`a/data.pkl` is compressed or encrypted");
    assert_refused(&zip(&[sound, sound], 0, Width::Narrow), "holds `a/data.pkl` twice");
    assert_refused(&zip(&[("a/b", b"")], 0, Width::Narrow), "holds no `data.pkl`");
    let large = zip(&[("a/data.pkl", &vec![b'N'; (4 << 20) + 1])], 0, Width::Narrow);
    assert_refused(&large, "has 4194305 bytes; at most 4194304");
}

#[test]
fn every_truncation_is_refused() {
    let file = fs::read(testdata("medusa/v01/medusa_lm_head.pt")).unwrap();
    for length in (0..file.len()).step_by(61).chain([file.len() - 1]) {
        refused(&file[..length]);
    }
    let sound = archive(&dictionary(&SOUND));
    for (at, value) in
        [(sound.len() - 6, 0x7fff_ffff_u32), (sound.len() - 10, u32::MAX), (sound.len() - 10, 3)]
    {
        let mut spoilt = sound.clone();
        spoilt[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused(&spoilt);
    }
}
