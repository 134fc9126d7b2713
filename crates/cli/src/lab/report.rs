//! What people read: a table for the terminal, and a page for the browser.

mod bars;
mod families;
mod lines;
mod page;
mod scale;
mod sections;
mod tables;
pub(super) mod terminal;
pub(super) mod words;

pub(super) use page::page;
