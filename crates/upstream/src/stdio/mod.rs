//! Managed children: started, spoken to over their standard streams, and stopped
//! with everything they have started themselves.

pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod stderr;
