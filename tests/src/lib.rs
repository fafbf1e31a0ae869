//! What the test binaries of this package share: single requests, other people's programs, and what they need.
//!
//! - [`call()`]: one request, any request, and its whole answer.
//! - [`Workshop`]: skopeo, podman and buildah, with a store of their own in a temporary directory.
//! - [`Peer`]: docker-registry, as the other end of copies.
//! - [`Remote`]: where a registry is, and as whom to speak to it.
//! - [`Secured`]: a registry with a certificate.
//! - [`minimal_system()`]: a Debian tree made by debootstrap.
//! - [`store_driver()`]: a bucket of a test's server, as a configuration names it.
//!
//! The programs have to be installed (Debian: skopeo, podman, buildah, docker-registry, debootstrap, busybox-static); a test that
//! needs one fails without it.

#![expect(
    clippy::missing_panics_doc,
    reason = "everything here panics when the world is not as a test needs it"
)]

mod call;
mod minimal_system;
mod peer;
mod remote;
mod secured;
mod store_driver;
mod workshop;

pub use call::{Call, Reply, call, sha256, with_parameter};
pub use minimal_system::minimal_system;
pub use peer::Peer;
pub use remote::Remote;
pub use secured::Secured;
pub use store_driver::store_driver;
pub use workshop::{Shape, Workshop, digest_of_directory};
