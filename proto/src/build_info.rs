//! What was built: the text behind `--version` of every binary.

/// Version of the formats on disk and on the wire. A data directory with a larger one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Short id of the commit, with a plus sign when the tree had changes; `unknown` in a debug build or outside git.
pub const COMMIT: &str = env!("RINGMQ_COMMIT");

/// For clap's `version`, which puts the program's name before it: `0.1.0 (commit 0123456789ab, format 1)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("RINGMQ_COMMIT"), ", format 1)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_commit_and_format() {
        assert!(VERSION.ends_with(&format!("(commit {COMMIT}, format {FORMAT_VERSION})")), "{VERSION}");
    }
}
