//! Links over HTTP: Streamable HTTP of both eras, and HTTP+SSE.

pub(crate) mod answer;
pub(crate) mod held;
pub(crate) mod legacy;
pub(crate) mod listen;
pub(crate) mod modern;
pub(crate) mod openings;
pub(crate) mod post;
pub(crate) mod remote;
pub(crate) mod sse;
pub(crate) mod standing;
