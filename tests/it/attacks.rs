//! What was done to others, done to this gateway: the bytes are sent, and what the server
//! received, what the client got and what was recorded are looked at. `docs/reference/attacks.md`
//! names the test for each attack.

mod answers;
mod around;
mod bombs;
mod children;
mod comparison;
mod door;
mod forged;
mod identities;
mod log;
mod lookalikes;
mod parsers;
mod raw;
mod reach;
mod server;
mod smuggling;
mod spellings;
mod terminal;
mod turned_away;
