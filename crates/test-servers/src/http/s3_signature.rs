//! Signatures for requests to S3, version 4.

use std::fmt::Write as _;

use roadstead_runtime::{Clock as _, SystemClock};
use sha2::{Digest as _, Sha256};

use crate::s3::S3Server;

/// The fields that let a request through to an S3 server under the name `test`. `target` has a path and, sorted and encoded, a query.
pub(crate) fn signed(server: &S3Server, method: &str, target: &str) -> String {
    let now = SystemClock.now();
    let (date, time) = (now.format("%Y%m%d"), now.format("%Y%m%dT%H%M%SZ"));
    let scope = format!("{date}/eu-north-1/s3/aws4_request");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = format!("host:test\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n");
    let names = "host;x-amz-content-sha256;x-amz-date";
    let request = format!("{method}\n{path}\n{query}\n{fields}\n{names}\nUNSIGNED-PAYLOAD");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request))
    );
    let mut key = format!("AWS4{}", server.secret_key()).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part);
    }
    let key_name = server.access_key();
    let signature = hex(&hmac(&key, &text));
    format!(
        "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={key_name}/{scope}, SignedHeaders={names}, Signature={signature}\r\n"
    )
}

/// RFC 2104, with SHA-256.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() <= block.len() {
        block[..key.len()].copy_from_slice(key);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner);
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
