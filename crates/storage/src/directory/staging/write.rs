//! Many chunks in few system calls.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;

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
    use crate::gathered::Gathered;

    const COPIED_BELOW: usize = 16 * 1024;

    proptest! {
        #[test]
        fn frames_of_any_sizes_come_out_whole_and_in_order(
            lengths in prop::collection::vec(prop_oneof![0..4_usize, 0..2 * COPIED_BELOW], 0..60),
            batch in 1..100_000_usize,
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let (mut gathered, mut expected) = (Gathered::copying_below(COPIED_BELOW), Vec::new());
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
}
