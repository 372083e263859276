//! What flatc makes of `proto/schema/native.fbs`: see `proto/codegen`. Only the modules beside this one use it.

#[rustfmt::skip]
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_imports,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated: flatc's style is not ours"
)]
mod native_generated;

pub(crate) use native_generated::ringmq::wire;
