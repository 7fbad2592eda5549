//! What a host says of itself is a claim: it selects nothing until a person accepts it.
