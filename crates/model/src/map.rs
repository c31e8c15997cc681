//! The map that hot paths look things up in.

/// A hash map whose seed is its own and random, as in the standard library, with a function
/// that takes a fraction of the time. For keys that nobody can choose so many of that a few
/// collisions would matter: ids of configuration, names in lists, digests.
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
