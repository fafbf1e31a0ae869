//! Bytes on their way to the disk: frames of any size are gathered into writes that are worth a system call.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem;

use bytes::{Bytes, BytesMut};

/// Frames below this are copied together. A frame kept by reference may keep a whole network buffer alive, which many
/// tiny frames must not; copying 16 KiB costs about as much as one more entry in a vectored write.
const COPIED_BELOW: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Gathered {
    whole: Vec<Bytes>,
    copied: BytesMut,
    bytes: usize,
}

impl Gathered {
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        if chunk.len() < COPIED_BELOW {
            self.copied.extend_from_slice(&chunk);
        } else {
            self.seal();
            self.whole.push(chunk);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.bytes = 0;
        mem::take(&mut self.whole)
    }

    fn seal(&mut self) {
        if !self.copied.is_empty() {
            self.whole.push(self.copied.split().freeze());
        }
    }
}

/// Writes all of `chunks` at the file's position.
pub(super) fn write_chunks(mut file: &File, chunks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = slices.as_mut_slice();
    // Drops empty slices, so that "nothing written" can only mean that nothing can be written.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_of_any_sizes_come_out_whole_and_in_order(
            lengths in prop::collection::vec(prop_oneof![0..4_usize, 0..2 * COPIED_BELOW], 0..60),
            batch in 1..100_000_usize,
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let (mut gathered, mut expected) = (Gathered::default(), Vec::new());
            for (number, length) in lengths.into_iter().enumerate() {
                let frame = vec![u8::try_from(number).unwrap(); length];
                expected.extend_from_slice(&frame);
                gathered.push(frame.into());
                if gathered.bytes() >= batch {
                    write_chunks(file.as_file(), &gathered.take()).unwrap();
                }
            }
            write_chunks(file.as_file(), &gathered.take()).unwrap();
            prop_assert_eq!(gathered.bytes(), 0);
            prop_assert_eq!(fs::read(file.path()).unwrap(), expected);
        }
    }

    #[test]
    fn tiny_frames_do_not_keep_their_network_buffers_alive() {
        let buffer = Bytes::from(vec![7; 1024 * 1024]);
        let mut gathered = Gathered::default();
        for start in 0..1000 {
            gathered.push(buffer.slice(start..=start));
        }
        let chunks = gathered.take();
        assert_eq!(chunks.len(), 1);
        // Nothing but this test holds the buffer any more.
        assert!(buffer.try_into_mut().is_ok());
    }
}
