//! What a token makes or keeps open is within the token.
