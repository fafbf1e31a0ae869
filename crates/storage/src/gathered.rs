//! Bytes on their way to a store: frames of any size become few chunks, which hold little more memory than bytes.

use std::mem;

use bytes::{Bytes, BytesMut};

/// The largest block that frames are copied into.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// How many blocks are kept to be used again: those of one part of an upload to an object store.
const SPARE_MAX: usize = 8;

/// Frames in the order in which they came.
///
/// A frame that is kept by reference keeps its whole network buffer alive, of which it may be a small part. So frames below a size are copied
/// into blocks, all of which are full but the last.
#[derive(Debug)]
pub(crate) struct Gathered {
    copied_below: usize,
    chunks: Vec<Bytes>,
    /// What is copied into, behind `chunks`.
    block: BytesMut,
    /// Blocks that nobody reads any more, empty.
    spare: Vec<BytesMut>,
    bytes: usize,
}

impl Gathered {
    /// Copies frames of fewer bytes, and keeps others by reference.
    pub(crate) fn copying_below(bytes: usize) -> Self {
        Self {
            copied_below: bytes,
            chunks: Vec::new(),
            block: BytesMut::new(),
            spare: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, frame: Bytes) {
        if frame.len() < self.copied_below {
            self.copy(&frame);
        } else {
            self.seal();
            self.bytes += frame.len();
            self.chunks.push(frame);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is gathered, which stays gathered.
    pub(crate) fn chunks(&mut self) -> &[Bytes] {
        self.seal();
        &self.chunks
    }

    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.bytes = 0;
        mem::take(&mut self.chunks)
    }

    /// Copies next into the blocks of what was taken before, as far as nobody else holds them. Fresh memory would be more memory, until the
    /// allocator gives back what is free.
    pub(crate) fn reuse(&mut self, taken: Vec<Bytes>) {
        for chunk in taken {
            if self.spare.len() < SPARE_MAX
                && let Ok(mut block) = chunk.try_into_mut()
                && block.capacity() == BLOCK_BYTES_MAX
            {
                block.clear();
                self.spare.push(block);
            }
        }
    }

    fn copy(&mut self, mut frame: &[u8]) {
        while !frame.is_empty() {
            let mut room = self.block.capacity() - self.block.len();
            if room == 0 {
                self.seal();
                // As much as there is already, so that few bytes take a small block and many take few.
                room = self.bytes.max(frame.len()).min(BLOCK_BYTES_MAX);
                let fresh = || BytesMut::with_capacity(room);
                self.block = self.spare.pop().unwrap_or_else(fresh);
                room = self.block.capacity();
            }
            let (now, later) = frame.split_at(room.min(frame.len()));
            self.block.extend_from_slice(now);
            self.bytes += now.len();
            frame = later;
        }
    }

    fn seal(&mut self) {
        if !self.block.is_empty() {
            let filled = self.block.split();
            if self.block.capacity() == 0 {
                // Whoever has the block shall have it alone.
                self.block = BytesMut::new();
            }
            self.chunks.push(filled.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice of a buffer of a MiB, as a frame of a network buffer is.
    fn frames(length: usize) -> (Bytes, impl Iterator<Item = Bytes>) {
        let buffer = Bytes::from(vec![7; 1024 * 1024]);
        let of = buffer.clone();
        (
            buffer,
            (0..).map(move |start| of.slice(start..start + length)),
        )
    }

    #[test]
    fn small_frames_do_not_keep_their_network_buffers_alive() {
        let (buffer, frames) = frames(1);
        let mut gathered = Gathered::copying_below(2);
        frames.take(1000).for_each(|frame| gathered.push(frame));
        // Nothing but this test holds the buffer any more.
        assert!(buffer.try_into_mut().is_ok());
        assert_eq!(gathered.chunks().concat(), vec![7; 1000]);
    }

    #[test]
    fn blocks_double_up_to_a_mebibyte_and_are_filled() {
        let (_, frames) = frames(3000);
        let mut gathered = Gathered::copying_below(4096);
        frames.take(2000).for_each(|frame| gathered.push(frame));
        let lengths: Vec<usize> = gathered.take().iter().map(Bytes::len).collect();
        let doubling = (0..9).map(|step| 3000 << step);
        let mut expected: Vec<usize> = [3000].into_iter().chain(doubling).collect();
        while let missing = 6_000_000 - expected.iter().sum::<usize>()
            && missing > 0
        {
            expected.push(missing.min(BLOCK_BYTES_MAX));
        }
        assert_eq!(lengths, expected);
    }

    #[test]
    fn blocks_that_nobody_holds_any_more_are_used_again() {
        let (_, frames) = frames(BLOCK_BYTES_MAX / 2);
        let mut gathered = Gathered::copying_below(BLOCK_BYTES_MAX);
        let mut frames = frames.map(|frame| frame.slice(..BLOCK_BYTES_MAX / 2));
        let mut push = |gathered: &mut Gathered, count: usize| {
            frames
                .by_ref()
                .take(count)
                .for_each(|frame| gathered.push(frame));
            gathered.take()
        };
        let first = push(&mut gathered, 6);
        let whole = |chunk: &&Bytes| chunk.len() == BLOCK_BYTES_MAX;
        let addresses: Vec<_> = first
            .iter()
            .filter(whole)
            .map(|chunk| chunk.as_ptr())
            .collect();
        assert_eq!(addresses.len(), 2);
        let held = first.iter().find(whole).cloned();
        gathered.reuse(first);
        let second = push(&mut gathered, 6);
        let used_again = |chunk: &&Bytes| addresses.contains(&chunk.as_ptr());
        assert_eq!(second.iter().filter(used_again).count(), 1);
        assert_ne!(second[0].as_ptr(), held.unwrap().as_ptr());
        let half = vec![7; BLOCK_BYTES_MAX / 2];
        assert_eq!(second.concat(), half.repeat(6));

        gathered.reuse((0..50).map(|_| vec![0; BLOCK_BYTES_MAX].into()).collect());
        assert_eq!(gathered.spare.len(), SPARE_MAX);
    }

    #[test]
    fn what_stays_gathered_is_told_again_with_what_came_behind_it() {
        let mut gathered = Gathered::copying_below(4);
        gathered.push(Bytes::from_static(b"abc"));
        gathered.push(Bytes::from_static(b"defg"));
        assert_eq!(gathered.chunks().concat(), b"abcdefg");
        gathered.push(Bytes::from_static(b"hi"));
        assert_eq!(gathered.bytes(), 9);
        assert_eq!(gathered.chunks().concat(), b"abcdefghi");
        assert_eq!(gathered.take().concat(), b"abcdefghi");
        assert!(gathered.take().is_empty());
        assert_eq!(gathered.bytes(), 0);
    }
}
