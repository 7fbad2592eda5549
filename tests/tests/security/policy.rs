//! An agent's policy, its helpers and its rollbacks against a server that means harm.
