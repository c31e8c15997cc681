//! What happens when something goes wrong, to the calls concerned and to all others.

mod broken;
mod certificates;
mod clock;
mod disk;
mod herd;
mod load;
mod overload;
mod silent;
mod starved;
mod unread;
