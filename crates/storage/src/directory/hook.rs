//! The one seam through which tests make a location fail. In a build without the feature `faults` it is empty and
//! compiles to nothing.

#[cfg(feature = "faults")]
pub(crate) use crate::faults::hook::Hook;

#[cfg(not(feature = "faults"))]
pub(crate) use none::Hook;

#[cfg(not(feature = "faults"))]
mod none {
    use std::future::{Ready, ready};

    use bytes::Bytes;

    use crate::error::{Failure, Operation};

    #[derive(Clone, Debug)]
    pub(crate) struct Hook;

    impl Hook {
        /// Nothing is made to fail.
        pub(crate) const fn none() -> Self {
            Self
        }

        /// Asked before each call into the kernel.
        #[expect(clippy::unused_self, reason = "the shape of the hook with faults")]
        pub(crate) fn before(&self, _: Operation, _continues: bool) -> Ready<Result<(), Failure>> {
            ready(Ok(()))
        }

        /// Shown the bytes on their way to the disk, which begin at offset `_at`.
        #[expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "the shape of the hook with faults"
        )]
        pub(crate) fn writing(&self, _at: u64, _: &mut [Bytes]) -> Result<(), Failure> {
            Ok(())
        }

        /// Whether the next publication is claimed but not made.
        #[expect(clippy::unused_self, reason = "the shape of the hook with faults")]
        pub(crate) fn loses_publication(&self) -> bool {
            false
        }

        /// Shown the bytes that were read at offset `_at`.
        #[expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "the shape of the hook with faults"
        )]
        pub(crate) fn reading(&self, _at: u64, bytes: Bytes) -> Result<Bytes, Failure> {
            Ok(bytes)
        }
    }
}
