//! What happened? The signed Merkle log and its index.
