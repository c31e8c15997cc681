//! The only door out: HTTP connections, address checks, limits.
