//! TCP, TLS and the PROXY protocol in, HTTP connections out.
