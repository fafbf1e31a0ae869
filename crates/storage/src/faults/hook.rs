//! The hook of [`crate::directory::hook`] in a build with faults.

use bytes::Bytes;

use crate::error::{Failure, Operation};
use crate::faults::Faults;

#[derive(Clone, Debug)]
pub(crate) struct Hook(Option<Faults>);

impl From<Faults> for Hook {
    fn from(faults: Faults) -> Self {
        Self(Some(faults))
    }
}

impl Hook {
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) async fn before(
        &self,
        operation: Operation,
        continues: bool,
    ) -> Result<(), Failure> {
        match &self.0 {
            Some(faults) => faults.before(operation, continues).await,
            None => Ok(()),
        }
    }

    pub(crate) fn reading(&self, at: u64, bytes: Bytes) -> Result<Bytes, Failure> {
        match &self.0 {
            Some(faults) => faults.reading(at, bytes),
            None => Ok(bytes),
        }
    }

    pub(crate) fn writing(&self, at: u64, chunks: &mut [Bytes]) -> Result<(), Failure> {
        match &self.0 {
            Some(faults) => faults.writing(at, chunks),
            None => Ok(()),
        }
    }

    pub(crate) fn loses_publication(&self) -> bool {
        self.0.as_ref().is_some_and(Faults::loses_publication)
    }
}
