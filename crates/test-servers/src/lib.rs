//! Real servers for tests: started on free loopback ports when a test asks for one, and gone with the test process, however it ends. And a proxy
//! that makes them fail.
//!
//! A server that cannot be started is a failed test, never a skipped one. Nothing here is part of a release.

mod azurite;
mod certificates;
mod http;
mod https;
mod otlp;
mod ports;
mod postgres;
mod programs;
mod prometheus;
mod proxy;
mod redis;
mod request;
mod s3;
mod server;
mod spawn;
mod swift;
mod wait;

pub use azurite::Azurite;
pub use certificates::{CertificateAuthority, IssuedCertificate, Years};
pub use https::HttpsServer;
pub use otlp::{CollectorMood, OtlpCollector, ReceivedSpan};
pub use ports::free_port;
pub use postgres::{Postgres, PostgresDatabase, PostgresSettings};
pub use programs::{installed_program, program_directory};
pub use prometheus::Prometheus;
pub use proxy::{Direction, Fault, FaultProxy, Traffic};
pub use redis::{RedisCluster, RedisSentinel, RedisServer, RedisSettings};
pub use request::Request;
pub use s3::S3Server;
pub use server::Server;
pub use swift::Swift;
