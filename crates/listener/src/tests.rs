//! Doors, from outside: real sockets, real handshakes.

mod certificates;
mod doors;
mod world;
