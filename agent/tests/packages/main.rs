//! Package operations against real package managers, each in a private root with a repository of its own: nothing of
//! the machine is changed but that a missing manager is installed (as root; otherwise the tests fail and say what to
//! install). They are run without root too, in a user namespace.

mod apt;
mod pacman;
mod root;
mod rpm;
mod story;
