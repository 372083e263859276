//! The two times that a step is given: nothing below reads a clock.

/// Read once per batch of input by the driver, or invented by the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since boot (CLOCK_BOOTTIME: never falls, counts suspension). For time-outs and leases.
    pub boot_ns: u64,
    /// Milliseconds since 1970 (CLOCK_REALTIME: may jump either way). For stamps only.
    pub wall_ms: u64,
}
