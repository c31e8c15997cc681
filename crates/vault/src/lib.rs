//! Sealing what must not be read at rest.
