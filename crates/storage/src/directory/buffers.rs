//! Memory for chunks, used again: fresh memory of this size costs more than the copying of what is put into it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How many buffers are kept that nobody uses. Each has the size of a chunk.
const IDLE_MAX: usize = 8;

/// Where buffers come from and go back to.
#[derive(Debug)]
pub(crate) struct Buffers {
    chunk_bytes: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A buffer, empty when it is given out. It goes back when the last reference to its bytes is dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// None for one that is too small to be worth keeping.
    from: Option<Arc<Buffers>>,
}

impl Buffers {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes: chunk_bytes.max(1),
            idle: Mutex::default(),
        }
    }

    /// The most bytes that one takes.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// A buffer for so many bytes: one that is kept for a whole chunk, one of their size for fewer.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        if bytes < self.chunk_bytes {
            return Buffer {
                bytes: Vec::with_capacity(bytes),
                from: None,
            };
        }
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Buffer {
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(self.chunk_bytes)),
            from: Some(Arc::clone(self)),
        }
    }
}

impl Buffer {
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn into_bytes(mut self) -> Bytes {
        match self.from {
            None => Bytes::from(std::mem::take(&mut self.bytes)),
            Some(_) => Bytes::from_owner(self),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(from) = self.from.take() else {
            return;
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut idle = from.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_whole_chunks_are_used_again_and_only_a_few_are_kept() {
        let buffers = Arc::new(Buffers::new(100));
        let filled = |bytes: usize| {
            let mut buffer = buffers.take(bytes);
            assert!(buffer.bytes().is_empty());
            buffer.bytes().resize(bytes, 7);
            buffer.into_bytes()
        };
        let first = filled(100);
        let address = first.as_ptr();
        let slice = first.slice(10..20);
        drop(first);
        assert_ne!(
            filled(100).as_ptr(),
            address,
            "somebody still reads a part of it"
        );
        drop(slice);
        let held: Vec<Bytes> = (0..2).map(|_| filled(100)).collect();
        assert!(held.iter().any(|bytes| bytes.as_ptr() == address));
        assert!(held.iter().all(|bytes| bytes.as_ref() == [7; 100]));
        drop(held);
        drop((0..50).map(|_| filled(100)).collect::<Vec<_>>());
        drop(filled(99));
        assert_eq!(buffers.idle.lock().unwrap().len(), IDLE_MAX);
    }
}
