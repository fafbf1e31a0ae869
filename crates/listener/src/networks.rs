//! Addresses that something holds for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A set of addresses. Addresses of IPv4 that are written in IPv6 count as what they are.
#[derive(Clone)]
pub struct Networks(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Networks {
    /// The addresses for which this is true.
    pub fn of(contains: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(contains))
    }

    /// Every address.
    pub fn all() -> Self {
        Self::of(|_| true)
    }

    /// This machine.
    pub fn loopback() -> Self {
        Self::of(|address| address.is_loopback())
    }

    /// Whether `address` is among them.
    pub fn contains(&self, address: IpAddr) -> bool {
        (self.0)(address.to_canonical())
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Networks")
    }
}
