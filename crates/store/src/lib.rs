//! SQLite behind the ports.
