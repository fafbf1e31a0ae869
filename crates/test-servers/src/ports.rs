//! Ports for programs that have to be told one.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// First and number of the ports handed out. They lie below 32768, where Linux begins to take ports for outgoing connections:
/// so nobody gets one of these by chance, also not while a program is being restarted.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nobody listens on. Each call in a process returns another.
///
/// # Panics
/// When all are taken.
pub fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than a u16");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports from {FIRST} to {} are taken", FIRST + COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one, two);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, one)).is_ok());
    }
}
