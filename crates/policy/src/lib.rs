//! May they call it? Role rules, Rego, simulation.
