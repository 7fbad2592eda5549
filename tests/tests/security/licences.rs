//! A feature belongs to the key that signed its module; licences of several keys stand beside each other.
