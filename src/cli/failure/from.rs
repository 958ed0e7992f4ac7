//! What each library error means to the user: its exit status and what to do next. Nothing else decides that.

mod guest;
mod host;
mod network;
mod package;
