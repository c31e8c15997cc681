//! Is there allowance left? Rate limits.
