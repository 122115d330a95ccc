//! Which instruction set an operation runs on: the best that the processor has, unless somebody asks for a lesser one.
//!
//! All give the same bits; `MERGESCOPE_SIMD=scalar` or `v3` (AVX2) is how tests and doubters see that they do.

use std::sync::OnceLock;

use pulp::{Arch, Scalar, WithSimd};

/// The variable that asks for a lesser one.
const VARIABLE: &str = "MERGESCOPE_SIMD";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Best,
    V3,
    Scalar,
}

/// Runs an operation that is compiled for each instruction set. Everything it calls for each element must be inlined into it.
#[inline(always)]
pub(crate) fn dispatch<O: WithSimd>(operation: O) -> O::Output {
    match asked() {
        Asked::Best => Arch::new().dispatch(operation),
        Asked::V3 => on_v3(operation),
        Asked::Scalar => operation.with_simd(Scalar),
    }
}

fn asked() -> Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    *ASKED.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("scalar") => Asked::Scalar,
        Ok("v3") => Asked::V3,
        _ => Asked::Best,
    })
}

#[cfg(target_arch = "x86_64")]
fn on_v3<O: WithSimd>(operation: O) -> O::Output {
    match pulp::x86::V3::try_new() {
        Some(simd) => pulp::Simd::vectorize(simd, operation),
        None => operation.with_simd(Scalar),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn on_v3<O: WithSimd>(operation: O) -> O::Output {
    Arch::new().dispatch(operation)
}
