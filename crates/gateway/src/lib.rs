//! The data plane: asks every question in order.
