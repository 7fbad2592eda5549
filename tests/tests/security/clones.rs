//! A copied machine is noticed at its second hello, and nothing runs on both.
