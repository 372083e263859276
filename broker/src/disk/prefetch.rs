//! One function that asks the processor for a cache line ahead of time: a hint, without any effect on memory.

/// Asks for the cache line of `place`, so that a use some hundred nanoseconds later does not wait for it.
#[inline]
pub fn prefetch<T>(place: &T) {
    prefetch_line(std::ptr::from_ref(place).addr());
}

/// Asks for the cache line at an address, which need not be of anything: the room after a vector's last element, say.
#[inline]
pub fn prefetch_line(address: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the instruction is only reachable through an intrinsic")]
    // SAFETY: a prefetch reads nothing that the program can see and never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
