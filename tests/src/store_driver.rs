//! How a registry's configuration names a bucket of a test's server.

use roadstead_test_servers::S3Server;
use serde_json::{Value, json};

/// A location in a bucket of `server`, below `path`, as `DISTRIBUTED_STORAGE_CONFIG` has it. It is reached on `port`: the server's own, or that of
/// a proxy before it.
pub fn store_driver(server: &S3Server, port: u16, bucket: &str, path: &str) -> Value {
    json!(["RadosGWStorage", {
        "hostname": "127.0.0.1",
        "port": port,
        "is_secure": false,
        "access_key": server.access_key(),
        "secret_key": server.secret_key(),
        "bucket_name": bucket,
        "storage_path": path,
    }])
}
