//! Instruction set levels: their names, their order, and proof that this machine has one.
//!
//! A proof token is a value of zero size that only detection creates. Whoever holds one may execute
//! that level's instructions, so functions that take a token are sound to call. The environment is
//! not read here: a cap is an option of the backend.

use std::fmt;

use crate::os;

/// An instruction set level, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code.
    Scalar,
    /// NEON (every 64-bit Arm).
    Neon,
    /// NEON with products of signed bytes (Arm from 2017; every Apple silicon).
    DotProd,
    /// These with products of signed and unsigned bytes (Arm from 2021).
    I8mm,
    /// AVX2 with FMA and F16C (x86-64 from 2013).
    Avx2,
    /// AVX2 with the byte products of AVX-VNNI (x86-64 clients from 2021).
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL with VNNI (x86-64 servers from 2019, AMD from Zen 4).
    Avx512,
    /// AMX tiles for bytes and bfloat16, beside AVX-512 (Intel servers from 2023, on Linux).
    Amx,
}

impl Isa {
    /// Every level, in rising order.
    pub const ALL: &[Self] = &[
        Self::Scalar,
        Self::Neon,
        Self::DotProd,
        Self::I8mm,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Amx,
    ];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::DotProd => "dotprod",
            Self::I8mm => "i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// Whether this machine has the level.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => Neon::detect().is_some(),
            Self::DotProd => DotProd::detect().is_some(),
            Self::I8mm => I8mm::detect().is_some(),
            Self::Avx2 => Avx2::detect().is_some(),
            Self::AvxVnni => AvxVnni::detect().is_some(),
            Self::Avx512 => Avx512::detect().is_some(),
            Self::Amx => Amx::detect().is_some(),
        }
    }

    /// The highest level of this machine that is not above `cap`.
    pub fn best(cap: Option<Self>) -> Self {
        let allowed = |isa: &Self| cap.is_none_or(|cap| *isa <= cap) && isa.is_available();
        Self::ALL.iter().copied().rev().find(allowed).unwrap_or(Self::Scalar)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Needs no proof: portable code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

impl Portable {
    /// # Safety
    /// None is needed; the name keeps the levels alike.
    pub(crate) unsafe fn assume() -> Self {
        Self
    }
}

/// Defines a proof token by what the machine is asked for.
macro_rules! proof {
    ($(#[$doc:meta])+ $name:ident: $arch:tt by $detected:ident $($feature:tt)+) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// Asks the machine.
            pub(crate) fn detect() -> Option<Self> {
                #[cfg(target_arch = $arch)]
                {
                    (true $(&& std::arch::$detected!($feature))+).then_some(Self(()))
                }
                #[cfg(not(target_arch = $arch))]
                {
                    None
                }
            }

            /// # Safety
            /// Detection has succeeded in this process.
            #[cfg(target_arch = $arch)]
            pub(crate) unsafe fn assume() -> Self {
                Self(())
            }
        }
    };
}

proof! {
    /// Proof that NEON may be executed.
    Neon: "aarch64" by is_aarch64_feature_detected "neon"
}

proof! {
    /// Proof that NEON and its products of signed bytes may be executed.
    DotProd: "aarch64" by is_aarch64_feature_detected "neon" "dotprod"
}

proof! {
    /// Proof that NEON, its products of signed bytes and those of mixed signs may be executed.
    I8mm: "aarch64" by is_aarch64_feature_detected "neon" "dotprod" "i8mm"
}

proof! {
    /// Proof that AVX2, FMA and F16C may be executed.
    Avx2: "x86_64" by is_x86_feature_detected "avx2" "fma" "f16c"
}

proof! {
    /// Proof that AVX-VNNI (and AVX2, FMA and F16C) may be executed.
    AvxVnni: "x86_64" by is_x86_feature_detected "avx2" "fma" "f16c" "avxvnni"
}

proof! {
    /// Proof that AVX-512 F, BW, DQ, VL and VNNI (and AVX2, FMA and F16C) may be executed.
    Avx512: "x86_64" by is_x86_feature_detected
        "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni"
}

/// Proof that the instructions of [`Avx512`] and AVX-512 BF16 may be executed (AMD from Zen 4, Intel
/// servers from 2020). It is no level of its own: the instruction it adds changes no bit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512Bf16(pub(crate) Avx512);

/// Proof that the tiles of AMX, their products of bytes and of bfloat16, and all that [`Avx512`] proves
/// may be executed, on every thread started from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amx(Avx512);

impl Avx512Bf16 {
    /// Asks the machine.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let has = std::arch::is_x86_feature_detected!("avx512bf16");
            Avx512::detect().filter(|_| has).map(Self)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            None
        }
    }

    /// # Safety
    /// [`Avx512Bf16::detect`] has succeeded in this process.
    #[cfg(target_arch = "x86_64")]
    pub(crate) unsafe fn assume() -> Self {
        // SAFETY: that has asked for AVX-512 first.
        Self(unsafe { Avx512::assume() })
    }
}

impl Amx {
    /// Asks the machine, then the operating system, which saves the tiles of a process only on request.
    pub(crate) fn detect() -> Option<Self> {
        Avx512::detect().filter(|_| has_tiles() && os::permit_tiles()).map(Self)
    }

    /// # Safety
    /// [`Amx::detect`] has succeeded in this process.
    #[cfg(target_arch = "x86_64")]
    pub(crate) unsafe fn assume() -> Self {
        // SAFETY: that has asked for the vector instructions first.
        Self(unsafe { Avx512::assume() })
    }

    /// The vector instructions beside the tiles.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vectors(self) -> Avx512 {
        self.0
    }
}

/// Whether the processor has AMX; the standard library's detection of it is not stable.
fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        /// Leaf 7, EDX: products of bfloat16, tiles, products of bytes.
        const TILES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        std::arch::x86_64::__cpuid_count(7, 0).edx & TILES == TILES
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_rise() {
        for isa in Isa::ALL {
            assert_eq!(Isa::parse(isa.name()), Some(*isa));
        }
        assert!(Isa::ALL.is_sorted());
        assert_eq!(Isa::parse("AVX2"), None);
    }

    #[test]
    fn a_cap_is_never_exceeded() {
        for cap in Isa::ALL {
            let best = Isa::best(Some(*cap));
            assert!(best <= *cap && best.is_available());
            assert!(!cap.is_available() || best == *cap);
        }
        assert!(Isa::best(None) >= Isa::best(Some(Isa::Avx2)));
    }
}
