//! What can be called? Servers, capabilities, names, fingerprints.
