//! A secret reaches the host that needs it and stands nowhere else.
