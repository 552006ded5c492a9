//! Executes AMX instructions on a machine without them: a handler for `SIGILL` decodes them, carries
//! them out on the emulated tiles of the thread, and goes on behind them.
//!
//! What the processor would refuse ends the process with a message; so a test of a kernel that breaks a
//! rule fails. Other illegal instructions keep their meaning.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::Once;

use super::emulator::{Instruction, Machine, Product, Sign};
use crate::isa::{Amx, Avx512};

thread_local! {
    static MACHINE: RefCell<Machine> = const { RefCell::new(Machine::INITIAL) };
}

/// The machine's own tiles, or emulated ones; `None` where the vector instructions beside them lack.
pub(crate) fn tiles() -> Option<Amx> {
    Amx::detect().or_else(|| {
        static INSTALL: Once = Once::new();
        Avx512::detect().map(|_| {
            INSTALL.call_once(install);
            // SAFETY: the vector instructions that kernels for tiles use are present, and the tile
            // instructions are carried out by the handler from here on.
            unsafe { Amx::assume() }
        })
    })
}

fn install() {
    // SAFETY: a zeroed action is valid: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that `SA_SIGINFO` asks for.
    let status = unsafe { libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) };
    assert_eq!(status, 0, "a handler for illegal instructions is installed");
}

extern "C" fn handle(_signal: c_int, _info: *const c_void, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes the interrupted thread's context, valid until the handler returns.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let mut handled = false;
    // Instructions for tiles come in runs, and a signal takes longer than any of them.
    // SAFETY: the processor was about to execute what is decoded.
    while let Some((instruction, length)) = unsafe { decode(registers) } {
        let done = MACHINE.with(|machine| {
            // SAFETY: the memory is what the interrupted code names, under its own contract.
            unsafe { machine.borrow_mut().execute(instruction) }
        });
        if let Err(fault) = done {
            let text = format!("AMX emulator: {instruction:?}: {fault:?}\n");
            // SAFETY: writes a live buffer to standard error and ends the process.
            unsafe {
                libc::write(2, text.as_ptr().cast(), text.len());
                libc::abort()
            }
        }
        registers[libc::REG_RIP as usize] += length;
        handled = true;
    }
    if !handled {
        // SAFETY: on return the instruction is met again and ends the process as it would have.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

/// Reads the bytes of an instruction one after another.
struct Bytes {
    at: *const u8,
    length: i64,
}

impl Bytes {
    /// # Safety
    /// The instruction goes on.
    unsafe fn next(&mut self) -> u8 {
        self.length += 1;
        // SAFETY: passed on.
        unsafe { *self.at.offset(self.length as isize - 1) }
    }
}

/// The instruction at the instruction pointer and its length, if it is one of AMX.
///
/// # Safety
/// The instruction pointer is one.
pub(super) unsafe fn decode(registers: &[i64]) -> Option<(Instruction, i64)> {
    let mut code = Bytes { at: registers[libc::REG_RIP as usize] as *const u8, length: 0 };
    // SAFETY: a byte is read only if those before it leave the instruction unfinished.
    unsafe {
        // Three-byte VEX of the map 0F38; registers beyond 8 by inverted bits.
        if code.next() != 0xc4 {
            return None;
        }
        let extend = code.next();
        let (r, x, b) = (!extend >> 7 & 1, !extend >> 6 & 1, !extend >> 5 & 1);
        let prefix = code.next();
        // W0 and a vector length of 128.
        if extend & 0x1f != 2 || prefix & 0x84 != 0 {
            return None;
        }
        let (third, prefix) = (usize::from(!prefix >> 3 & 15), prefix & 3);
        let opcode = code.next();
        if !matches!(opcode, 0x49 | 0x4b | 0x5c | 0x5e) {
            return None;
        }
        let modrm = code.next();
        let (register, rm) = (usize::from(modrm >> 3 & 7 | r << 3), usize::from(modrm & 7));
        let is_memory = modrm >> 6 != 3;
        let instruction = match (opcode, prefix, is_memory) {
            (0x49, 0, false) if register == 0 && rm == 0 => Instruction::Release,
            (0x49, 3, false) if rm == 0 => Instruction::Zero { tile: register },
            (0x49, 0, true) if register == 0 => {
                Instruction::LoadConfig { at: address(&mut code, registers, modrm, (x, b))?.0 }
            }
            (0x49, 1, true) if register == 0 => {
                Instruction::StoreConfig { at: address(&mut code, registers, modrm, (x, b))?.0 }
            }
            (0x4b, 1 | 3, true) if rm == 4 => {
                let (at, stride) = address(&mut code, registers, modrm, (x, b))?;
                Instruction::Load { tile: register, at, stride }
            }
            (0x4b, 2, true) if rm == 4 => {
                let (at, stride) = address(&mut code, registers, modrm, (x, b))?;
                Instruction::Store { tile: register, at, stride }
            }
            (0x5c | 0x5e, _, false) => {
                let product = product(opcode, prefix)?;
                let a = rm | usize::from(b) << 3;
                Instruction::Multiply { product, c: register, a, b: third }
            }
            _ => return None,
        };
        Some((instruction, code.length))
    }
}

fn product(opcode: u8, prefix: u8) -> Option<Product> {
    use Sign::{Signed, Unsigned};
    match (opcode, prefix) {
        (0x5c, 2) => Some(Product::Pairs),
        (0x5e, 0) => Some(Product::Bytes(Unsigned, Unsigned)),
        (0x5e, 1) => Some(Product::Bytes(Unsigned, Signed)),
        (0x5e, 2) => Some(Product::Bytes(Signed, Unsigned)),
        (0x5e, 3) => Some(Product::Bytes(Signed, Signed)),
        _ => None,
    }
}

/// A memory operand: base plus displacement, and the scaled index, which tiles take as their stride.
/// Addresses relative to the instruction pointer are not known.
///
/// # Safety
/// The instruction goes on with its operand.
unsafe fn address(
    code: &mut Bytes,
    registers: &[i64],
    modrm: u8,
    (x, b): (u8, u8),
) -> Option<(u64, u64)> {
    let value = |number: u8| registers[REGISTERS[usize::from(number)] as usize] as u64;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    // SAFETY: passed on; the mode says which bytes follow.
    unsafe {
        let (base, stride) = if rm == 4 {
            let sib = code.next();
            let index = sib >> 3 & 7 | x << 3;
            (sib & 7, if index == 4 { 0 } else { value(index) << (sib >> 6) })
        } else {
            (rm, 0)
        };
        let displacement = match mode {
            0 if base == 5 => return None,
            0 => 0,
            1 => i64::from(code.next().cast_signed()),
            _ => {
                i64::from(i32::from_le_bytes([code.next(), code.next(), code.next(), code.next()]))
            }
        };
        Some((value(base | b << 3).wrapping_add_signed(displacement), stride))
    }
}

/// Where the context keeps the registers, by the number instructions give them.
const REGISTERS: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
