//! The path of a blob from one location to another, in bytes per second of blob.
//!
//! A verified copy touches each byte five times: read at the source, hashed, written, read back, hashed. Reading ahead and writing
//! behind run on other threads than the hashing, so on two cores or more the hashing is the bound.
//!
//! | case | expected bound | a regression is |
//! |---|---|---|
//! | `hash` | the CPU's SHA-256: 1.2 to 2 GB/s with the SHA extensions, 0.3 to 0.5 GB/s without | a change of `sha2`'s backend |
//! | `memory/raw` | memcpy, three times (out of the page cache, into the buffer, into the page cache): over 1 GB/s at 256 MiB | under half of `hash` |
//! | `memory/verified` | half of `hash`, since each byte is hashed twice one after the other | under a third of `hash` at 256 MiB: hashing no longer overlaps reading and writing |
//! | `file/raw` | the disk's rate of synced writing | under four fifths of `dd conv=fsync` with blocks of 1 MiB |
//! | `file/verified` | `1 / (1 / file/raw + 1 / hash)`: the read-back comes out of the page cache, but only after the sync | a third less than that |
//! | `throttled/*` | the source's rate, 128 MiB/s, less a tenth: timers tick in milliseconds and a chunk takes eight. Verified adds the read-back at the target, `1 / (1 / raw + 1 / hash)` | under 100 MiB/s raw at 256 MiB: reading ahead no longer hides the target |
//!
//! Measured on two busy cores with the SHA extensions at 256 MiB, in MiB/s: `hash` 1680, `memory` 1470 raw and 650 verified, `file` 990 and 480.
//!
//! At 64 KiB the fixed costs rule: some twelve calls on blocking threads and, on a disk, five flushes (the bytes, the entry of the
//! upload, the renamed object, both directories). There a regression is a call or a flush more: half a millisecond on a disk. A throttle of less
//! than a millisecond is not made, so that `throttled` is `memory` there.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roadstead_benches::blob_copy::{Copying, Medium, hash};
use tokio::runtime::Runtime;

const SIZES: [(&str, u64); 3] = [
    ("64KiB", 64 << 10),
    ("4MiB", 4 << 20),
    ("256MiB", 256 << 20),
];

/// See the table at the top of the file.
fn blob_copy(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("blob_copy");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500));
    for (size_name, size) in SIZES {
        group.throughput(Throughput::Bytes(size));
        group.measurement_time(Duration::from_secs(if size > 100 << 20 { 10 } else { 3 }));
        group.bench_function(BenchmarkId::new("hash", size_name), |bencher| {
            bencher.iter(|| hash(size));
        });
        for (medium_name, medium) in Medium::ALL {
            let copying = runtime
                .block_on(Copying::prepare(medium, size))
                .expect("the blob is put");
            group.bench_function(
                BenchmarkId::new(format!("{medium_name}/raw"), size_name),
                |bencher| {
                    bencher
                        .to_async(&runtime)
                        .iter(async || copying.raw().await.expect("it copies"));
                },
            );
            group.bench_function(
                BenchmarkId::new(format!("{medium_name}/verified"), size_name),
                |bencher| {
                    bencher
                        .to_async(&runtime)
                        .iter(async || copying.verified().await.expect("it copies"));
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, blob_copy);
criterion_main!(benches);
