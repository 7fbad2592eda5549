//! Limits that hold without credentials: memory, connections, answers and addresses.
